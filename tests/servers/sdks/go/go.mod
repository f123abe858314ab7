module everyoperation

go 1.19

require (
	github.com/aliyun/aliyun-mns-go-sdk v1.0.2
	github.com/gogap/errors v0.0.0
)

require (
	github.com/andybalholm/brotli v1.0.4 // indirect
	github.com/klauspost/compress v1.15.9 // indirect
	github.com/valyala/bytebufferpool v1.0.0 // indirect
	github.com/valyala/fasthttp v1.44.0 // indirect
)

replace github.com/gogap/errors => ./errors

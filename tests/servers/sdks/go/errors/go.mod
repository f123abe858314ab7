module github.com/gogap/errors

go 1.19

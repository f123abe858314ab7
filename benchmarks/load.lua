-- One legacy result per POST, each with its own env_id: thread t of the run gets its own range.
local counter = 0
local base = 0
local threads = 0
function setup(thread)
  thread:set("id", threads)
  threads = threads + 1
end
function init(args)
  base = (tonumber(args[1]) or 0) * 1000000000 + id * 100000000
end
function request()
  counter = counter + 1
  local n = base + counter
  local body = string.format("env_id=%d&msg_id=77041400%d&account=news@shop.example.com&from=news@shop.example.com&rcpt=r%d@example.net&recv_time=2026-03-01 09:00:00&end_time=2026-03-01 09:00:01&status=0&event=deliver&region=cn-hangzhou&err_code=250&err_msg=250 Send Mail OK", n, n, n)
  return wrk.format("POST", "/n", {["Content-Type"] = "text/plain;charset=utf-8"}, body)
end

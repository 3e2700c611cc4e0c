-- What wrk sends: the requests of the file BODIES, one after the other; at RATE requests a second where that is set.
--
-- At a rate, each request is due at a moment of its own, whether those before it are answered or not, and is sent by a
-- connection that is free. wrk's connections are more than are ever busy, so a server that stands still is noticed by
-- every request that is due meanwhile; and the load, being C, leaves the processor to the Redis beside it.
local ffi = require("ffi")
ffi.cdef("typedef struct { long seconds; long nanoseconds; } instant; int clock_gettime(int, instant *);")
local MONOTONIC = 1

local bodies = {}
for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
local headers = {["Content-Type"] = "application/json"}
local at = 0

request = function()
  at = at % #bodies + 1
  return wrk.format("POST", "/predict", headers, bodies[at])
end

if os.getenv("RATE") then
  local between = 1000 / tonumber(os.getenv("RATE"))
  local clock, due = ffi.new("instant"), nil

  delay = function()
    ffi.C.clock_gettime(MONOTONIC, clock)
    local now = tonumber(clock.seconds) * 1e3 + tonumber(clock.nanoseconds) / 1e6
    due = (due or now) + between
    return math.max(0, due - now)
  end
end

-- wrk's part: which requests it sends, and how it counts the answers.
--
--   wrk -s load.lua ADDRESS -- fresh  PREFIX RIDERS         a key that nobody has used, each time
--   wrk -s load.lua ADDRESS -- replay PREFIX RIDERS KEYS    the first KEYS of an earlier run, again
--   wrk -s load.lua ADDRESS -- get    PREFIX RIDERS         no key and no body
--
-- The n-th key of a prefix is always the same rider's.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

local kind, prefix, riders, keys
local sent = 0
local body = "origin_lat=37.7793&origin_lon=-122.4192&target_lat=37.6213&target_lon=-122.379"

function init(args)
  kind, prefix, riders, keys = args[1], args[2], tonumber(args[3]), tonumber(args[4])
  statuses, replayed = {}, 0
end

function request()
  local n = kind == "replay" and sent % keys or sent
  sent = sent + 1
  local head = " " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.headers["Host"]
    .. "\r\nAuthorization: rider-" .. n % riders .. "@example.com\r\n"
  if kind == "get" then
    return "GET" .. head .. "\r\n"
  end
  return "POST" .. head .. "Idempotency-Key: " .. string.format("%s-%010d", prefix, n)
    .. "\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: " .. #body
    .. "\r\n\r\n" .. body
end

function response(status, headers)
  statuses[status] = (statuses[status] or 0) + 1
  if headers["Idempotent-Replayed"] or headers["idempotent-replayed"] then
    replayed = replayed + 1
  end
end

function done(summary, latency)
  local thread = threads[1]
  local counts = {}
  for status, count in pairs(thread:get("statuses")) do
    table.insert(counts, string.format('"%d": %d', status, count))
  end
  local errors = summary.errors
  io.write(string.format(
    '\n{"seconds": %.6f, "statuses": {%s}, "replayed": %d, "broken": %d, "timed_out": %d, '
      .. '"p50_ms": %.3f, "p95_ms": %.3f, "p99_ms": %.3f}\n',
    summary.duration / 1e6, table.concat(counts, ", "), thread:get("replayed"),
    errors.connect + errors.read + errors.write, errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3))
end

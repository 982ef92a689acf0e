"""What happens to a run's keys in Redis, each in one step.

``job`` is a hash: the number of shards, the last fencing token, and whether the run is to stop. ``shard`` is one, too:
who owns it and until when, on Redis's clock, how many owners there were, how many outcomes were told, and whether it is
done. ``told`` is the list of its outcomes, as lines of JSON. All are forgotten a week after they were last touched.
"""

from __future__ import annotations

from typing import Final

KEPT: Final = 7 * 24 * 3600
"""Seconds that a run is kept after it was last touched."""

_NOW: Final = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""

# Keys: job. Arguments: the number of shards, seconds that it is kept.
REGISTER: Final = """
redis.call('HSET', KEYS[1], 'shards', ARGV[1])
redis.call('HDEL', KEYS[1], 'stop')
redis.call('EXPIRE', KEYS[1], ARGV[2])
"""

# Keys: job, shard. Arguments: milliseconds, something nobody else has, seconds that it is kept.
# Returns: what it came to; milliseconds that the last owner's lease has still to run, or since when it is over; the
# token; how many owners there were before.
ACQUIRE: Final = f"""{_NOW}
if redis.call('EXISTS', KEYS[1]) == 0 then return {{'over', 0, '', 0}} end
if redis.call('HEXISTS', KEYS[1], 'stop') == 1 then return {{'over', 0, '', 0}} end
if redis.call('HEXISTS', KEYS[2], 'done') == 1 then return {{'over', 0, '', 0}} end
local before = tonumber(redis.call('HGET', KEYS[2], 'until') or '0')
if before > now then return {{'held', before - now, '', 0}} end
local token = redis.call('HINCRBY', KEYS[1], 'fence', 1) .. '.' .. ARGV[2]
local owners = redis.call('HINCRBY', KEYS[2], 'owners', 1)
redis.call('HSET', KEYS[2], 'owner', token, 'until', now + ARGV[1])
redis.call('HDEL', KEYS[2], 'error')
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return {{'yours', now - before, token, owners - 1}}
"""

# Keys: job, shard. Arguments: the token, milliseconds. Returns 0 where it is another's now, 2 where the run is to stop.
RENEW: Final = f"""{_NOW}
if redis.call('HGET', KEYS[2], 'owner') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[2], 'until', now + ARGV[2])
return redis.call('HEXISTS', KEYS[1], 'stop') == 1 and 2 or 1
"""

# Keys: shard, told. Arguments: the token, how many outcomes were told before, seconds that it is kept, and lines.
# Returns 0 where it is another's now. Said twice, as after a reply that was lost, it is told once.
TELL: Final = """
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
local new = redis.call('LLEN', KEYS[2]) - ARGV[2]
if new < 0 then return 0 end
for i = 4 + new, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[i]) end
redis.call('HSET', KEYS[1], 'told', redis.call('LLEN', KEYS[2]))
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('EXPIRE', KEYS[2], ARGV[3])
return 1
"""

# Keys: shard. Arguments: the token, how many outcomes make it done, and what went wrong. The lease ends now.
RELEASE: Final = f"""{_NOW}
if redis.call('HGET', KEYS[1], 'owner') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'owner', '', 'until', now)
if ARGV[3] ~= '' then redis.call('HSET', KEYS[1], 'error', ARGV[3]) end
if tonumber(redis.call('HGET', KEYS[1], 'told') or '0') == tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], 'done', 1)
end
return 1
"""

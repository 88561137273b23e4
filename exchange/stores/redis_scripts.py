"""What the store does in one step each, as scripts, and the names of its keys. The server runs a script whole or not.

Every script looks before it writes, so that it never stops half way. Numbers travel as text and are compared as text
where they must be equal. All keys of a log share one hash tag, so that a Cluster keeps them together.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1

#: Raised with every change of what a key holds.
FORMAT = 1
PREFIX = "sx"

HEAD_FIELDS = (
    "format",
    "origin",
    "durable_size",
    "durable_root",
    "sealed_size",
    "sealed_root",
    "checkpoint",
    "floor",
    "last_received_at_ms",
    "last_directory_size",
    "sealed_received_at_ms",
    "sealed_directory_size",
    "bundles",
    "withheld",
)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one log."""

    origin: str

    @property
    def _base(self) -> str:
        return f"{PREFIX}:{{{self.origin}}}"

    @property
    def head(self) -> bytes:
        """A hash: `HEAD_FIELDS`, and counters."""
        return f"{self._base}:head".encode()

    @property
    def ids(self) -> bytes:
        """A hash: the index of each statement, by its id."""
        return f"{self._base}:ids".encode()

    @property
    def channel(self) -> bytes:
        """Where a seal is told, by its size; and, by 0, that records came back."""
        return f"{self._base}:sealed".encode()

    @property
    def returned(self) -> bytes:
        """A hash: which entries got their records back, numbered in the order in which they did."""
        return f"{self._base}:returned".encode()

    def entries(self, bundle: int) -> bytes:
        """A hash: the rows of 256 entries, by index."""
        return f"{self._base}:e:{bundle}".encode()

    def tiles(self, level: int) -> bytes:
        """A hash: the whole hash tiles of a level, by index; of level 0 only those not below the floor."""
        return f"{self._base}:t:{level}".encode()

    def roots(self, level: int) -> bytes:
        """A hash: the root of each whole tile of a level, with its checksum, by index."""
        return f"{self._base}:r:{level}".encode()


@dataclass(frozen=True, slots=True)
class Script:
    """A script, and what a server knows it by once it has been loaded."""

    text: str

    @property
    def sha(self) -> str:
        """Return its SHA-1, which is how servers name scripts."""
        return sha1(self.text.encode(), usedforsecurity=False).hexdigest()


#: What every script does first that changes a log: another release may have made another form of it meanwhile.
_SAME_FORMAT = f"""
local format = redis.call('HGET', KEYS[1], 'format')
if format and format ~= '{FORMAT}' then return {{'format', format}} end
"""

#: KEYS: head. ARGV: field and value of each.
CREATE = Script("""
if redis.call('EXISTS', KEYS[1]) == 1 then return {'there'} end
redis.call('HSET', KEYS[1], unpack(ARGV))
return {'ok'}
""")

#: KEYS: head, ids, then those of entries, tiles and roots. ARGV: size and root that are expected, the new ones,
#: received_at, directory size, number of entries, number of fields, why the log is withheld; then of each entry: which
#: key, index, id, row; and of each field: which key, index, value.
APPEND = Script(
    _SAME_FORMAT
    + """
local head = redis.call('HMGET', KEYS[1], 'durable_size', 'durable_root', 'sealed_size', 'last_received_at_ms',
  'last_directory_size', 'withheld')
if not head[1] then return {'missing'} end
if (head[6] or '') ~= ARGV[9] then return {'withheld', head[6] or ''} end
if head[1] ~= ARGV[1] or head[2] ~= ARGV[2] then return {'conflict', head[1], head[2]} end
if head[3] ~= head[1] then return {'unsealed', head[1], head[2]} end
local entries, fields = tonumber(ARGV[7]), tonumber(ARGV[8])
local known = {'repeated'}
for n = 0, entries - 1 do
  local at = 10 + 4 * n
  local index = redis.call('HGET', KEYS[2], ARGV[at + 2])
  if index then
    known[#known + 1] = ARGV[at + 2]
    known[#known + 1] = index
  end
end
if #known > 1 then return known end
for n = 0, entries - 1 do
  local at = 10 + 4 * n
  redis.call('HSET', KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 3])
  redis.call('HSET', KEYS[2], ARGV[at + 2], ARGV[at + 1])
end
for n = 0, fields - 1 do
  local at = 10 + 4 * entries + 3 * n
  redis.call('HSET', KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2])
end
redis.call('HSET', KEYS[1], 'durable_size', ARGV[3], 'durable_root', ARGV[4], 'last_received_at_ms', ARGV[5],
  'last_directory_size', ARGV[6], 'sealed_received_at_ms', head[4], 'sealed_directory_size', head[5])
return {'ok'}
"""
)

#: KEYS: head. ARGV: size, root, checkpoint, channel. What is sealed already need not be this head: whoever asked looks.
SEAL = Script(
    _SAME_FORMAT
    + """
local head = redis.call('HMGET', KEYS[1], 'durable_size', 'durable_root', 'sealed_size', 'checkpoint')
if not head[1] then return {'missing'} end
if tonumber(ARGV[1]) <= tonumber(head[3]) and head[4] ~= '' then return {'sealed'} end
if head[1] ~= ARGV[1] or head[2] ~= ARGV[2] then return {'conflict', head[1], head[2]} end
redis.call('HSET', KEYS[1], 'sealed_size', ARGV[1], 'sealed_root', ARGV[2], 'checkpoint', ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[1])
return {'ok'}
"""
)

#: Writes something, so that counting replicas afterwards counts for everything before; returns the head as it was.
#: KEYS: head. ARGV: fields.
CONFIRM = Script(
    _SAME_FORMAT
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then return {'missing'} end
redis.call('HINCRBY', KEYS[1], 'confirmed', 1)
local found = redis.call('HMGET', KEYS[1], unpack(ARGV))
table.insert(found, 1, 'ok')
return found
"""
)

#: KEYS: head, then those of entries. ARGV: of each frame: which key, index, leaf hash, what a row has behind its fixed
#: part. Returns how many erasures there have been, and how many of them have left the files.
ERASE = Script(
    _SAME_FORMAT
    + """
local size = redis.call('HGET', KEYS[1], 'durable_size')
if not size then return {'missing'} end
local rows = {}
for at = 1, #ARGV, 4 do
  if tonumber(ARGV[at + 1]) >= tonumber(size) then return {'above', size} end
  local row = redis.call('HGET', KEYS[tonumber(ARGV[at])], ARGV[at + 1])
  if row and string.sub(row, 33, 64) ~= ARGV[at + 2] then return {'leaf', ARGV[at + 1]} end
  rows[at] = row
end
local changed = false
for at = 1, #ARGV, 4 do
  if rows[at] then
    local new = string.sub(rows[at], 1, 76) .. ARGV[at + 3]
    if new ~= rows[at] then
      redis.call('HSET', KEYS[tonumber(ARGV[at])], ARGV[at + 1], new)
      changed = true
    end
  end
end
if changed then redis.call('HINCRBY', KEYS[1], 'erasures', 1) end
local told = redis.call('HMGET', KEYS[1], 'erasures', 'rewritten')
return {'ok', told[1] or '0', told[2] or '0'}
"""
)

#: KEYS: head. ARGV: erasures that have left the files.
REWRITTEN = Script(
    _SAME_FORMAT
    + """
local told = redis.call('HGET', KEYS[1], 'rewritten')
if tonumber(told or '0') < tonumber(ARGV[1]) then redis.call('HSET', KEYS[1], 'rewritten', ARGV[1]) end
return {'ok'}
"""
)

#: KEYS: head, entries, what came back. ARGV: index, leaf hash, what the row has behind its fixed part now and shall
#: have, channel. It is written, and told, also where it is there already: the answer may have been lost.
PUT_BACK = Script(
    _SAME_FORMAT
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then return {'missing'} end
local row = redis.call('HGET', KEYS[2], ARGV[1])
if not row then return {'other'} end
if string.sub(row, 33, 64) ~= ARGV[2] then return {'leaf'} end
local part = string.sub(row, 77)
if part ~= ARGV[3] and part ~= ARGV[4] then return {'other'} end
redis.call('HSET', KEYS[2], ARGV[1], string.sub(row, 1, 76) .. ARGV[4])
redis.call('HSET', KEYS[3], redis.call('HINCRBY', KEYS[1], 'returned', 1), ARGV[1])
redis.call('PUBLISH', ARGV[5], '0')
return {'ok'}
"""
)

#: KEYS: head, ids, tiles of level 0, then entries of each bundle that goes. ARGV: the new floor, then each bundle.
DROP = Script(
    _SAME_FORMAT
    + """
local head = redis.call('HMGET', KEYS[1], 'floor', 'sealed_size')
if not head[1] then return {'missing'} end
if tonumber(ARGV[1]) > tonumber(head[2]) then return {'above', head[2]} end
if tonumber(ARGV[1]) <= tonumber(head[1]) then return {'ok', head[1]} end
for n = 2, #ARGV do
  for _, row in ipairs(redis.call('HVALS', KEYS[2 + n])) do
    redis.call('HDEL', KEYS[2], string.sub(row, 1, 32))
  end
  redis.call('UNLINK', KEYS[2 + n])
  redis.call('HDEL', KEYS[3], ARGV[n])
end
redis.call('HSET', KEYS[1], 'floor', ARGV[1])
return {'ok', ARGV[1]}
"""
)

#: KEYS: entries of each bundle in the range. ARGV: first index, one past the last, the most bytes.
READ = Script("""
local found, size = {}, 0
for index = tonumber(ARGV[1]), tonumber(ARGV[2]) - 1 do
  local bundle = math.floor(index / 256) - math.floor(tonumber(ARGV[1]) / 256)
  local row = redis.call('HGET', KEYS[1 + bundle], string.format('%.0f', index))
  if not row then break end
  found[#found + 1] = row
  size = size + #row
  if size > tonumber(ARGV[3]) then break end
end
return found
""")

#: KEYS: head. ARGV: why it is withheld now, why it shall be, and the durable head that it must have.
WITHHOLD = Script(
    _SAME_FORMAT
    + """
local head = redis.call('HMGET', KEYS[1], 'withheld', 'durable_size', 'durable_root')
if not head[2] then return {'missing'} end
local now = head[1] or ''
if now == ARGV[2] then return {'ok'} end
if now ~= ARGV[1] then return {'withheld', now} end
if head[2] ~= ARGV[3] or head[3] ~= ARGV[4] then return {'conflict', head[2]} end
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], 'withheld')
else
  redis.call('HSET', KEYS[1], 'withheld', ARGV[2])
end
return {'ok'}
"""
)

ALL = (CREATE, APPEND, SEAL, CONFIRM, ERASE, REWRITTEN, PUT_BACK, DROP, READ, WITHHOLD)

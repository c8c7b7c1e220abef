/**
 * Marks a request that was dropped, in place of its `RequestState`. Only this script reads it: the hash has
 * no identity, so `decodeSnapshot` finds no request in it.
 */
export const DROPPED_STATE = "DROPPED";

/**
 * Appends one event and updates the snapshot, in one atomic step.
 *
 * The caller computes with core's `advance` what an event changes. The script only enforces the two refusals
 * of `advance` on the state that Redis has: no event follows the end, and no attempt overrides a later one.
 * It also refuses the events of attempts of a request that was dropped, until it is submitted again.
 * The snapshot keeps the id of the request's first event, `bornId`.
 *
 * The conformance suite applies the same random events to this and to the in-memory log and compares them.
 *
 * KEYS: snapshot hash, event stream. ARGV: attempt (empty for `done`), event JSON, its time, entries to keep,
 * time to live in ms, channel, length of the initial fields, the fields of a request that is not known yet
 * (field, value, …), the fields that change (field, value, …). Returns { 1 } when appended; { 0, state } when
 * refused; { 0, state, event JSON } when there is a `done` already.
 */
export const APPEND_SCRIPT = `
local before = redis.call('HMGET', KEYS[1], 'state', 'attempt')
local done = ARGV[1] == ''
if before[1] == '${DROPPED_STATE}' then
  if done or tonumber(ARGV[1]) > 0 then return { 0, before[1] } end
  redis.call('DEL', KEYS[1])
  before = {}
end
if before[1] == 'COMPLETED' then
  if not done then return { 0, before[1] } end
  local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
  if last then return { 0, before[1], last[2][4] } end
elseif before[1] and not done and tonumber(ARGV[1]) < tonumber(before[2]) then
  return { 0, before[1] }
end
local first = 7 + tonumber(ARGV[7])
if not before[1] then redis.call('HSET', KEYS[1], unpack(ARGV, 8, first)) end
if #ARGV > first then redis.call('HSET', KEYS[1], unpack(ARGV, first + 1)) end
local id = redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[4], '*', 'at', ARGV[3], 'event', ARGV[2])
if not before[1] then redis.call('HSET', KEYS[1], 'bornId', id) end
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('PUBLISH', ARGV[6], id .. ' ' .. ARGV[3] .. ' ' .. ARGV[2])
return { 1 }
`;

/** The script's reply; `existing` is the JSON of the `done` that was there first. */
export type AppendReply = [accepted: 1] | [accepted: 0, state: string, existing?: string];

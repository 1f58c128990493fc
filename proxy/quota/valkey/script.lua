-- The counts of limits, shared by all instances. Each call is one step: nothing comes between.
--
-- KEYS: the epoch's key, the hash of this instance's holds.
-- ARGV: the operation, the epoch, the prefix of the epoch's keys, the arguments as msgpack, and the
-- time of the last change that the caller was answered.
-- The answer begins with a code (see the end of this file) and the server's time in milliseconds.
--
-- Lua counts in doubles, so a number is a pair (h, l): h * 10^9 + l, with 0 <= l < 10^9. Pairs are
-- exact up to 9 * 10^24. A double only says which of two cases surely holds.
--
-- A budget or a number of slots is {used h, used l, held h, held l, highest share told in ppm}.
-- A rate is a bucket as in proxy/core/limits/gcra.py:
--   {level h, level l, as of when, leak h, leak l, loose h, loose l, next number,
--    number of the top layer (0: none), its amount h, its amount l, its holders}
-- Layers below the top stand in a sorted set, by their numbers: {number, amount h, amount l,
-- holders}. A request stands on the highest layer whose number is not above its own, so a layer
-- that is gone needs no pointer to the one below. Numbers begin at the time of the bucket's making,
-- so a hold of an earlier bucket stands below every layer, which is right: that one ran empty.
local BILLION, STEP, floor = 1000000000, 4194304, math.floor
local BACK_MS = 1000  -- a clock that goes back by more was set; by less, it is waited for
local call, pack, unpacked = redis.call, cmsgpack.pack, cmsgpack.unpack

local operation, epoch, prefix = ARGV[1], ARGV[2], ARGV[3]
local clock = call('TIME')
local now = clock[1] * 1000 + floor(clock[2] / 1000) --CLOCK
if call('GET', KEYS[1]) ~= epoch then return {-1, now} end
local CHANGED = prefix .. 'changed'
local changed = tonumber(call('GET', CHANGED) or '0')
if changed < tonumber(ARGV[5]) and operation ~= 'distrust' then return {-2, now} end
local args = unpacked(ARGV[4])

local function norm(h, l)
  if l < 0 then return h - 1, l + BILLION elseif l >= BILLION then return h + 1, l - BILLION end
  return h, l
end
local function add(ah, al, bh, bl) return norm(ah + bh, al + bl) end
local function sub(ah, al, bh, bl) return norm(ah - bh, al - bl) end
local function le(ah, al, bh, bl) return ah < bh or (ah == bh and al <= bl) end
local function times(h, l, m)  -- m <= STEP
  local x = l * m
  local carried = floor(x / BILLION)
  return h * m + carried, x - carried * BILLION
end
local function rough(h, l) return h * BILLION + l end

local function exact(number) return string.format('%.0f', number) end

-- How long a bucket takes to run empty, at most, and a minute; 0: it never does.
local function lasts(s)
  if s[4] == 0 and s[5] == 0 then return 0 end
  return math.min(floor(rough(s[1], s[2]) / rough(s[4], s[5]) * 1.000001) + 60000, 2 ^ 45)
end

local function save(name, s, lasts_ms)
  if lasts_ms > 0 then call('SET', prefix .. name, pack(s), 'PX', exact(lasts_ms))
  else call('SET', prefix .. name, pack(s)) end
end
local function save_rate(name, s) save(name, s, lasts(s)) end

-- The level now.
local function leaked(s)
  local elapsed = now - s[3]
  if elapsed <= 0 or (s[1] == 0 and s[2] == 0) then return s[1], s[2] end
  if rough(s[4], s[5]) * elapsed > 2 * rough(s[1], s[2]) then return 0, 0 end
  local many, rest = floor(elapsed / STEP), elapsed % STEP
  local h, l = times(s[4], s[5], many)
  h, l = times(h, l, STEP)
  local rh, rl = times(s[4], s[5], rest)
  h, l = add(h, l, rh, rl)
  if le(s[1], s[2], h, l) then return 0, 0 end
  return sub(s[1], s[2], h, l)
end

local function layers(name) return prefix .. 'L' .. name end
local function put(name, number, h, l, holders)
  call('ZADD', layers(name), exact(number), pack(number, h, l, holders))
end
local function pop(s, name)
  local got = call('ZPOPMAX', layers(name))
  if #got == 0 then s[9], s[10], s[11], s[12] = 0, 0, 0, 0
  else s[9], s[10], s[11], s[12] = unpacked(got[1]) end
end

-- Leaks up to now, of the newest first. The caller saves the state.
local function flow(s, name)
  if s[3] > now + BACK_MS then s[3] = now end  -- else nothing would flow until it is as late again
  if now <= s[3] then return end
  local h, l = leaked(s)
  s[3] = now
  if h == 0 and l == 0 then
    if s[9] > 0 then call('DEL', layers(name)) end
    s[1], s[2], s[6], s[7], s[9], s[10], s[11], s[12] = 0, 0, 0, 0, 0, 0, 0, 0
    return
  end
  local lh, ll = sub(s[1], s[2], h, l)
  s[1], s[2] = h, l
  if le(lh, ll, s[6], s[7]) then
    s[6], s[7] = sub(s[6], s[7], lh, ll)
    return
  end
  lh, ll = sub(lh, ll, s[6], s[7])
  s[6], s[7] = 0, 0
  while s[9] > 0 and le(s[10], s[11], lh, ll) do
    lh, ll = sub(lh, ll, s[10], s[11])
    local holders = s[12]
    pop(s, name)
    if s[9] > 0 then s[12] = s[12] + holders end
  end
  if s[9] > 0 then s[10], s[11] = sub(s[10], s[11], lh, ll) end
end

-- Takes an amount; returns the number of its layer.
local function take(s, name, h, l)
  if s[9] > 0 then put(name, s[9], s[10], s[11], s[12]) end
  s[1], s[2] = add(s[1], s[2], h, l)
  s[9], s[10], s[11], s[12] = s[8], h, l, 1
  s[8] = s[8] + 1
  return s[9]
end

local function highest(name, number)
  local range = {'ZRANGE', layers(name), exact(number), '-inf', 'BYSCORE', 'REV', 'LIMIT', 0, 1}
  return call(unpack(range))[1]
end

-- A request leaves its place, and gives back what it did not use, as far as it is still there.
local function give(s, name, place, uh, ul)
  while true do
    local number, h, l, holders, raw
    if s[9] > 0 and place >= s[9] then number, h, l, holders = s[9], s[10], s[11], s[12]
    else
      raw = highest(name, place)
      if not raw then return end  -- all of it has leaked away
      number, h, l, holders = unpacked(raw)
      call('ZREM', layers(name), raw)
    end
    if (uh == 0 and ul == 0) or not le(h, l, uh, ul) then
      s[1], s[2] = sub(s[1], s[2], uh, ul)
      h, l = sub(h, l, uh, ul)
      holders = holders - 1
      if not raw then
        if holders > 0 then s[10], s[11], s[12] = h, l, holders
        else
          s[6], s[7] = add(s[6], s[7], h, l)
          pop(s, name)
        end
      elseif holders > 0 then put(name, number, h, l, holders)
      else  -- nobody stands here: the amount counts to the layer above
        local up = call('ZRANGE', layers(name), '(' .. exact(number), '+inf', 'BYSCORE', 'LIMIT', 0, 1)[1]
        if up then
          local above, ah, al, standing = unpacked(up)
          ah, al = add(ah, al, h, l)
          call('ZREM', layers(name), up)
          put(name, above, ah, al, standing)
        else s[10], s[11] = add(s[10], s[11], h, l) end
      end
      return
    end
    -- The whole layer goes. Its holders stand on the one below.
    s[1], s[2] = sub(s[1], s[2], h, l)
    uh, ul = sub(uh, ul, h, l)
    if raw then
      local below = highest(name, number)
      if not below then return end
      local lower, bh, bl, standing = unpacked(below)
      call('ZREM', layers(name), below)
      put(name, lower, bh, bl, standing + holders)
    else
      pop(s, name)
      if s[9] == 0 then return end
      s[12] = s[12] + holders
    end
    place = number
  end
end

-- The name under which a value is counted: its own, or the one of all further values. `apart` is
-- {the set of the rule's values, the most of them, the name for others}.
local function counted(name, apart)
  if not apart or call('EXISTS', prefix .. name) == 1 then return name end
  local known = prefix .. apart[1]
  call('ZREMRANGEBYSCORE', known, '-inf', exact(now))
  if call('ZCARD', known) >= apart[2] then return apart[3] end
  return name
end
local function know(name, apart, lasts_ms)
  if apart and name ~= apart[3] then
    local until_ms = lasts_ms > 0 and exact(now + lasts_ms) or '+inf'
    call('ZADD', prefix .. apart[1], until_ms, name)
  end
end

local function new_rate(kh, kl) return {0, 0, now, kh, kl, 0, 0, now * 1024, 0, 0, 0, 0} end
local function load(name)
  local raw = call('GET', prefix .. name)
  return raw and unpacked(raw)
end
local function load_all(names)
  if #names == 0 then return {} end
  local keys = {}
  for i = 1, #names do keys[i] = prefix .. names[i] end
  return call('MGET', unpack(keys))
end

-- Keeps the state of a line that is no rate. Slots that are all free are as good as none.
local function keep(line, s)
  if line[1] == 'S' and s[3] == 0 and s[4] == 0 then
    call('DEL', prefix .. line[2])
    if line[11] then call('ZREM', prefix .. line[11], line[2]) end
  else save(line[2], s, line[7]) end
end

-- A hold: its lines, what its request was, and the output that is expected of it. A line ends with
-- what is free while its instance is silent (slots), or was counted when it was given up (budgets).
local function hold(attempt, lines, request, output)
  call('HSET', KEYS[2], attempt, pack(lines, request, output))
end

-- An instance is known from its first hold on, so that its slots are free when it is silent.
local SILENT_MS = 5000
local SEEN, LAPSED = prefix .. 'seen', prefix .. 'lapsed'
local function holds_of(instance) return prefix .. 'i:' .. instance end
local function instance() return string.sub(KEYS[2], #holds_of('') + 1) end
local function make_known()
  if call('HLEN', KEYS[2]) == 1 then call('ZADD', SEEN, 'NX', exact(now), instance()) end
end

local run = {}

-- {attempt, limits, request, output}; a limit: {kind, name, exact, warns, room h, room l, hold h, hold l,
-- lasts ms, unit, apart or false, leak h, leak l, scale}. Looks at all, then takes of all.
-- Answers {1, now, places of exceeded limits, places counted with others, states}, or
-- {0, now, places that refuse, places counted with others, states} and has changed nothing.
function run.reserve()
  local attempt, limits = args[1], args[2]
  if call('HEXISTS', KEYS[2], attempt) == 1 then return {3, now} end
  local names, together = {}, {}
  for i, limit in ipairs(limits) do
    names[i] = counted(limit[2], limit[11])
    if names[i] ~= limit[2] then together[#together + 1] = i - 1 end
  end
  local raws = load_all(names)
  local states, beyond, refusing = {}, {}, {}
  for i, limit in ipairs(limits) do
    local s, lh, ll = raws[i] and unpacked(raws[i]), limit[5], limit[6]
    if limit[1] == 'R' then
      s = s or new_rate(limit[12], limit[13])
      -- The limit has another amount now, or the clock was set back: saved also where it refuses.
      if s[4] ~= limit[12] or s[5] ~= limit[13] or s[3] > now + BACK_MS then
        flow(s, names[i])
        s[4], s[5] = limit[12], limit[13]
        save_rate(names[i], s)
        raws[i] = pack(s)
      end
      lh, ll = sub(lh, ll, leaked(s))
    else
      s = s or {0, 0, 0, 0, 0}
      lh, ll = sub(lh, ll, s[1], s[2])
      lh, ll = sub(lh, ll, s[3], s[4])
    end
    states[i] = s
    local fits
    if limit[3] then fits = le(limit[7], limit[8], lh, ll)
    else fits = lh > 0 or (lh == 0 and ll > 0) end
    if not fits then
      local list = limit[4] and beyond or refusing
      list[#list + 1] = i - 1
    end
  end
  if #refusing > 0 then return {0, now, refusing, together, raws} end
  local lines, kept = {}, {}
  for i, limit in ipairs(limits) do
    local s, kind, name, hh, hl, place = states[i], limit[1], names[i], limit[7], limit[8], 0
    local lasts_ms = limit[9]
    if kind == 'R' then
      flow(s, name)
      place = take(s, name, hh, hl)
      lasts_ms = lasts(s)
    else s[3], s[4] = add(s[3], s[4], hh, hl) end
    kept[i] = pack(s)
    if lasts_ms > 0 then call('SET', prefix .. name, kept[i], 'PX', exact(lasts_ms))
    else call('SET', prefix .. name, kept[i]) end
    know(name, limit[11], lasts_ms)
    local apart = limit[11] and name ~= limit[11][3] and limit[11][1]
    lines[i] = {kind, name, hh, hl, limit[10], limit[14], limit[9], place, hh, hl, apart}
  end
  hold(attempt, lines, args[3], args[4])
  make_known()
  return {1, now, beyond, together, kept}
end

-- {attempt, used: a pair for each unit, whether it may not have been reserved}. The first write
-- takes memory away, so that the end of a request is counted by a full server too.
function run.settle()
  local attempt, used = args[1], args[2]
  local raw = call('HGET', KEYS[2], attempt)
  if not raw or raw == '' then
    if args[3] then call('HSET', KEYS[2], attempt, '') end  -- a reserve that comes late finds it
    return {2, now}
  end
  call('HDEL', KEYS[2], attempt)
  local lines, names, kept = unpacked(raw), {}, {}
  for i = 1, #lines do names[i] = lines[i][2] end
  local raws = load_all(names)
  for i, line in ipairs(lines) do
    local s, kind, name, hh, hl = raws[i] and unpacked(raws[i]), line[1], line[2], line[3], line[4]
    local uh, ul = used[line[5]][1], used[line[5]][2]
    if s and kind ~= 'R' then
      if kind == 'B' and line[12] then uh, ul = sub(uh, ul, line[12], line[13]) end
      s[3], s[4] = sub(s[3], s[4], hh, hl)
      s[1], s[2] = add(s[1], s[2], uh, ul)
      keep(line, s)
      kept[i] = pack(s)
    elseif s then
      uh, ul = times(uh, ul, line[6])
      if le(uh, ul, hh, hl) then
        uh, ul = sub(hh, hl, uh, ul)
        if not le(uh, ul, line[9], line[10]) then uh, ul = line[9], line[10] end
        give(s, name, line[8], uh, ul)
      else
        give(s, name, line[8], 0, 0)
        flow(s, name)
        uh, ul = sub(uh, ul, hh, hl)
        s[1], s[2] = add(s[1], s[2], uh, ul)
        s[6], s[7] = add(s[6], s[7], uh, ul)
      end
      save_rate(name, s)
    end
    kept[i] = kept[i] or ''
  end
  return {1, now, kept}
end

-- {attempt, lines, output}; a line: false, or {may refuse, room h, room l, hold in all h, hold in all l}.
-- Answers {1, now}, or {0, now, place of the limit that refuses, its state}.
function run.extend()
  local raw = call('HGET', KEYS[2], args[1])
  if not raw or raw == '' then return {2, now} end
  local lines, request = unpacked(raw)
  local states = {}
  for i, line in ipairs(lines) do
    local want = args[2][i]
    if want and not le(want[4], want[5], line[3], line[4]) then
      local s = load(line[2])
      if s then
        states[i] = s
        local mh, ml = sub(want[4], want[5], line[3], line[4])
        local lh, ll = want[2], want[3]
        if line[1] == 'R' then lh, ll = sub(lh, ll, leaked(s))
        else
          lh, ll = sub(lh, ll, s[1], s[2])
          lh, ll = sub(lh, ll, s[3], s[4])
        end
        if want[1] and not le(mh, ml, lh, ll) then return {0, now, i - 1, pack(s)} end
      end
    end
  end
  for i, s in pairs(states) do
    local line, want = lines[i], args[2][i]
    local mh, ml = sub(want[4], want[5], line[3], line[4])
    line[3], line[4] = want[4], want[5]
    if line[1] == 'R' then  -- what it took before counts as used by now
      flow(s, line[2])
      give(s, line[2], line[8], 0, 0)
      line[8] = take(s, line[2], mh, ml)
      line[9], line[10] = mh, ml
      save_rate(line[2], s)
    else
      s[3], s[4] = add(s[3], s[4], mh, ml)
      save(line[2], s, line[7])
    end
  end
  hold(args[1], lines, request, args[3])
  return {1, now}
end

-- {attempt}: the places among concurrent requests are free; the rest of the hold stays.
function run.slots()
  local raw = call('HGET', KEYS[2], args[1])
  if not raw or raw == '' then return {2, now} end
  local lines, request, output = unpacked(raw)
  for _, line in ipairs(lines) do
    if line[1] == 'S' then
      local s = load(line[2])
      if s then
        s[3], s[4] = sub(s[3], s[4], line[3], line[4])
        keep(line, s)
      end
      line[3], line[4], line[12], line[13] = 0, 0, nil, nil
    end
  end
  hold(args[1], lines, request, output)
  return {1, now}
end

-- Names, each {name, apart or false}. Answers {1, now, places counted with others, states}.
function run.look()
  local names, together = {}, {}
  for i, one in ipairs(args) do
    names[i] = counted(one[1], one[2])
    if names[i] ~= one[1] then together[#together + 1] = i - 1 end
  end
  return {1, now, together, load_all(names)}
end

-- {id, corrections}; each {name, lasts ms, used h, used l, whether only a count that stands changes,
-- apart or false}. Once for each id, until that is forgotten. Answers {1, now, states}.
function run.adjust()
  if call('HSETNX', KEYS[2], args[1], '') == 0 then return {2, now} end
  local kept = {}
  for i, one in ipairs(args[2]) do
    local name = counted(one[1], one[6])
    local s = load(name)
    kept[i] = ''
    if s or not one[5] then
      s = s or {0, 0, 0, 0, 0}
      s[1], s[2] = add(s[1], s[2], one[3], one[4])
      save(name, s, one[2])
      know(name, one[6], one[2])
      kept[i] = pack(s)
    end
  end
  return {1, now, kept}
end

-- {counts}, each {name, lasts ms, state, apart or false}: those that do not stand yet. The time of
-- a rate is now.
function run.base()
  for _, one in ipairs(args) do
    local name, s = one[1], one[3]
    if call('EXISTS', prefix .. name) == 0 and counted(name, one[4]) == name then
      if #s > 5 then
        s[3], s[8] = now, now * 1024
        save_rate(name, s)
        know(name, one[4], lasts(s))
      else
        save(name, s, one[2])
        know(name, one[4], one[2])
      end
    end
  end
  return {1, now}
end

-- {ones}, each {attempt, lines, used: a pair for each unit, or false while it runs, request, output}:
-- what the store does not know, once for each attempt. A line: {kind, name, hold h, hold l, unit, scale, lasts ms,
-- leak h, leak l}. A running one holds from now on; of one that is over, its use counts.
function run.join()
  for _, one in ipairs(args) do
    local attempt, lines, used, held = one[1], one[2], one[3], {}
    if call('HEXISTS', KEYS[2], attempt) == 0 then
      for i, line in ipairs(lines) do
        local kind, name, hh, hl, place = line[1], line[2], line[3], line[4], 0
        local s = load(name)
        if kind == 'R' then
          s = s or new_rate(line[8], line[9])
          flow(s, name)
          if used then
            hh, hl = times(used[line[5]][1], used[line[5]][2], line[6])
            s[1], s[2] = add(s[1], s[2], hh, hl)
            s[6], s[7] = add(s[6], s[7], hh, hl)
          else place = take(s, name, hh, hl) end
          save_rate(name, s)
        else
          s = s or {0, 0, 0, 0, 0}
          if used then s[1], s[2] = add(s[1], s[2], used[line[5]][1], used[line[5]][2])
          else s[3], s[4] = add(s[3], s[4], hh, hl) end
          if kind == 'B' or not used then save(name, s, line[7]) end
        end
        held[i] = {kind, name, hh, hl, line[5], line[6], line[7], place, hh, hl, false}
      end
      call('HSET', KEYS[2], attempt, used and '' or pack(held, one[4], one[5]))
    end
  end
  make_known()
  return {1, now}
end

-- How the epoch came about: for each journal up to where its closes were in the book, and for each
-- that may have had more whether that was handed in: w it waits, j it began, d it is done.
local POSITIONS, JOINS, WHOLE = prefix .. 'P', prefix .. 'J', prefix .. 'whole'
local function ended() return prefix .. 'E' .. string.sub(KEYS[2], #prefix + 2) end
local function waiting()
  local names, told = {}, call('HGETALL', JOINS)
  for i = 1, #told, 2 do
    if told[i + 1] ~= 'd' then names[#names + 1] = told[i] end
  end
  return names
end

-- {positions, journals}: of an epoch that is being built. A position is {journal, as text}.
function run.stand()
  for _, one in ipairs(args[1]) do call('HSET', POSITIONS, one[1], one[2]) end
  for _, journal in ipairs(args[2]) do call('HSET', JOINS, journal, 'w') end
  return {1, now}
end

-- {journal}: from now on its process counts in this epoch.
function run.joining()
  if call('HGET', JOINS, args[1]) ~= 'd' then call('HSET', JOINS, args[1], 'j') end
  return {1, now}
end

-- {ones}, each {id, lines}: what was over before this instance joined and is not in the base, once
-- for each id until it has joined. A line: {kind, name, used h, used l, lasts ms, leak h, leak l,
-- apart or false}. Of a rate it counts as used now.
function run.ended()
  for _, one in ipairs(args) do
    if call('HSETNX', ended(), one[1], '') == 1 then
      for _, line in ipairs(one[2]) do
        local kind, name, lasts_ms = line[1], counted(line[2], line[8]), line[5]
        local s = load(name)
        if kind == 'R' then
          s = s or new_rate(line[6], line[7])
          flow(s, name)
          s[6], s[7] = add(s[6], s[7], line[3], line[4])
        end
        s = s or {0, 0, 0, 0, 0}
        s[1], s[2] = add(s[1], s[2], line[3], line[4])
        if kind == 'R' then lasts_ms = lasts(s) end
        save(name, s, lasts_ms)
        know(name, line[8], lasts_ms)
      end
    end
  end
  return {1, now}
end

-- {journal}: its process has handed in all. Answers {1, now, 1 if nobody is waited for, who else is}.
function run.joined()
  call('DEL', ended())
  call('HSET', JOINS, args[1], 'd')
  local names = waiting()
  if #names == 0 then call('SET', WHOLE, '1') end
  return {1, now, call('EXISTS', WHOLE), names}
end

-- The same answer.
function run.waits() return {1, now, call('EXISTS', WHOLE), waiting()} end

-- {name, share in ppm, whether to lower}: the highest share of a budget that has been told. Answers
-- {1, now, the share before} to the one caller that changes it.
function run.tell()
  local s = load(args[1])
  if not s or s[5] == args[2] or (s[5] > args[2]) ~= args[3] then return {0, now} end
  local before = s[5]
  s[5] = args[2]
  call('SET', prefix .. args[1], pack(s), 'KEEPTTL')
  return {1, now, before}
end

-- {name, ms}: answers {1, now} to one caller in so many milliseconds.
function run.once()
  local key = prefix .. args[1]
  local till = call('GET', key)
  local rest = till and tonumber(till) - now  -- more than ms: the clock was set back
  if rest and rest > 0 and rest <= args[2] then return {0, now} end
  call('SET', key, exact(now + args[2]), 'PX', exact(args[2]))
  return {1, now}
end

-- {names of counts, names of sets of values}: they no longer exist.
function run.forget()
  for _, name in ipairs(args[1]) do call('DEL', prefix .. name, layers(name)) end
  for _, set in ipairs(args[2]) do
    for _, name in ipairs(call('ZRANGE', prefix .. set, 0, -1)) do
      call('DEL', prefix .. name, layers(name))
    end
    call('DEL', prefix .. set)
  end
  return {1, now}
end

-- {the key of the epoch}: the epoch under the first key is built.
function run.publish()
  call('RENAME', KEYS[1], args[1])
  return {1, now}
end

-- The attempts that this instance holds something for.
function run.holds()
  local attempts, told = {}, call('HGETALL', KEYS[2])
  for i = 1, #told, 2 do
    if told[i + 1] ~= '' then attempts[#attempts + 1] = told[i] end
  end
  return {1, now, attempts}
end

-- The same as {attempt, request, output, 1 if it was given up}.
function run.left()
  local found, told = {}, call('HGETALL', KEYS[2])
  for i = 1, #told, 2 do
    if told[i + 1] ~= '' then
      local lines, request, output = unpacked(told[i + 1])
      local given = 0
      for _, line in ipairs(lines) do
        if line[1] == 'B' and line[12] then given = 1 end
      end
      if #lines == 0 then given = 1 end
      found[#found + 1] = {told[i], request or '', output or 0, given}
    end
  end
  return {1, now, found}
end

-- {attempt, used, ms}: as `settle`, of an instance that will not come back. What was counted of each
-- budget is remembered for so long: a record that still comes counts what it says beyond that.
function run.give_up()
  local raw = call('HGET', KEYS[2], args[1])
  local done = run.settle()
  if done[1] ~= 1 then return done end
  local lines, request, output = unpacked(raw)
  local kept = {}
  for _, line in ipairs(lines) do
    if line[1] == 'B' then
      local used = args[2][line[5]]
      line[3], line[4], line[12], line[13] = 0, 0, used[1], used[2]
      kept[#kept + 1] = line
    end
  end
  hold(args[1], kept, request, output)
  call('PEXPIRE', KEYS[2], exact(args[3]))
  return done
end

-- Nothing of this instance is waited for any more.
function run.gone()
  call('ZREM', SEEN, instance())
  call('HDEL', LAPSED, instance())
  return {1, now}
end

-- Slots of one hold: free while its instance is silent, and taken again when it is heard.
local function free(line)
  local s = load(line[2])
  if s then
    s[3], s[4] = sub(s[3], s[4], line[3], line[4])
    keep(line, s)
  end
  line[12], line[13], line[3], line[4] = line[3], line[4], 0, 0
end
local function retake(line)
  local s = load(line[2]) or {0, 0, 0, 0, 0}
  s[3], s[4] = add(s[3], s[4], line[12], line[13])
  save(line[2], s, line[7])
  if line[11] then call('ZADD', prefix .. line[11], '+inf', line[2]) end
  line[3], line[4], line[12], line[13] = line[12], line[13], nil, nil
end

-- Changes the slots of some holds of an instance; answers where to go on, '0' behind the last.
local function change_slots(name, cursor, is_silent, change)
  local scanned = call('HSCAN', holds_of(name), cursor, 'COUNT', 200)
  local told = scanned[2]
  for i = 1, #told, 2 do
    if told[i + 1] ~= '' then
      local lines, request, output = unpacked(told[i + 1])
      local changed
      for _, line in ipairs(lines) do
        if line[1] == 'S' and (line[12] == nil) == is_silent
          and (line[12] or line[3] > 0 or line[4] > 0) then
          change(line)
          changed = true
        end
      end
      if changed then
        call('HSET', holds_of(name), told[i], pack(lines, request, output))
      end
    end
  end
  return scanned[1]
end

local function silent() return call('ZRANGE', SEEN, '-inf', exact(now - SILENT_MS), 'BYSCORE') end

-- This instance lives: its slots are taken again, if they were free meanwhile. The slots of one that
-- is silent are free, all else of it stays held. Some holds in a call, since a call blocks all
-- others; answers {1, now, 1 if there are more}. How far it came stands in LAPSED: b or f and the
-- cursor, or `free`.
function run.alive()
  local me = instance()
  call('ZADD', SEEN, exact(now), me)
  call('PERSIST', KEYS[2])  -- it may have been given up
  local state = call('HGET', LAPSED, me)
  if state then
    local cursor = string.match(state, '^b(.+)') or '0'
    cursor = change_slots(me, cursor, false, retake)
    if cursor ~= '0' then
      call('HSET', LAPSED, me, 'b' .. cursor)
      return {1, now, 1}
    end
    call('HDEL', LAPSED, me)
  end
  for _, name in ipairs(silent()) do
    state = call('HGET', LAPSED, name)
    if call('EXISTS', holds_of(name)) == 0 then
      call('ZREM', SEEN, name)
      call('HDEL', LAPSED, name)
    elseif state ~= 'free' then
      local cursor = string.match(state or '', '^f(.+)') or '0'
      cursor = change_slots(name, cursor, true, free)
      call('HSET', LAPSED, name, cursor == '0' and 'free' or 'f' .. cursor)
      return {1, now, 1}
    end
  end
  return {1, now, 0}
end

-- What silent instances hold: {1, now, how many holds, the oldest attempt or ''}.
function run.silent()
  local many, oldest = 0, ''
  for _, name in ipairs(silent()) do
    local told = call('HGETALL', holds_of(name))
    for i = 1, #told, 2 do
      if told[i + 1] ~= '' then
        many = many + 1
        if oldest == '' or told[i] < oldest then oldest = told[i] end
      end
    end
  end
  return {1, now, many, oldest}
end

-- How many attempts this instance's hash has.
function run.beat() return {1, now, call('HLEN', KEYS[2])} end

-- The counts have lost something: no run of a server has this epoch any more.
function run.distrust()
  call('SET', KEYS[1], string.match(epoch, '^[^|]*') .. '|')
  return {1, now}
end

-- Attempts and ids that need not be remembered any more.
function run.tidy()
  for _, id in ipairs(args) do
    if call('HGET', KEYS[2], id) == '' then call('HDEL', KEYS[2], id) end
  end
  return {1, now}
end

-- Codes: 1 done, 0 refused, 2 there is no such hold, 3 ended before it came, -1 another epoch, -2 the
-- epoch lacks a change that was answered: the server was set back.
local leaves_its_time = {
  reserve = 1, extend = 1, settle = 1, slots = 1, adjust = 1, join = 1, ended = 1, joining = 1,
  joined = 1, give_up = 1,
}
local answer = run[operation]()
if answer[1] == 1 and leaves_its_time[operation] and now > changed then
  call('SET', CHANGED, exact(now))
end
return answer

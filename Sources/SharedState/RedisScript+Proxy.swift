/// Scripts of what the JWT proxies of several instances share.
extension RedisScript {
    /// Denies tokens: ARGV is the prefix, the present second, how many may be denied, and of each its document, its expiry, and the channel
    /// on which it is told, or nothing. Answers how many found no room.
    ///
    /// `denied` is a sorted set of documents by expiry, `denied_order` of the same by the number of the change that brought them, and
    /// `denied_version` is the last such number: microseconds since 1970 or one more than the last, so that it never goes back. All
    /// expire with the last document; those that ended go.
    static let deny = RedisScript(
        """
        local set, order, version = ARGV[1] .. 'denied', ARGV[1] .. 'denied_order', ARGV[1] .. 'denied_version'
        for _, document in ipairs(redis.call('ZRANGEBYSCORE', set, '-inf', ARGV[2], 'LIMIT', 0, 1000)) do
          redis.call('ZREM', set, document)
          redis.call('ZREM', order, document)
        end
        local time = redis.call('TIME')
        local number = math.max(tonumber(redis.call('GET', version) or '0'), time[1] * 1000000 + time[2])
        local full, added = 0, 0
        for i = 4, #ARGV, 3 do
          if not redis.call('ZSCORE', set, ARGV[i]) then
            if redis.call('ZCARD', set) < tonumber(ARGV[3]) then
              number, added = number + 1, added + 1
              redis.call('ZADD', set, ARGV[i + 1], ARGV[i])
              redis.call('ZADD', order, string.format('%.0f', number), ARGV[i])
            else
              full = full + 1
            end
          end
          if ARGV[i + 2] ~= '' then redis.call('PUBLISH', ARGV[i + 2], ARGV[i]) end
        end
        local last = redis.call('ZRANGE', set, -1, -1, 'WITHSCORES')[2]
        if last and (added > 0 or redis.call('EXISTS', version) == 0) then
          redis.call('SET', version, string.format('%.0f', number))
          local expiry = string.format('%.0f', math.min(tonumber(last), tonumber(ARGV[2]) + 315360000) + 1)
          for _, key in ipairs({set, order, version}) do redis.call('EXPIREAT', key, expiry) end
        end
        return full
        """)

    /// Says that this instance's proxy lives: ARGV is the prefix of all keys, that of denials, the instance, and after how many
    /// milliseconds it is forgotten. Answers how many live, and the number of the last change of what is denied.
    static let watch = RedisScript(
        """
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local set = ARGV[1] .. 'proxies'
        redis.call('ZREMRANGEBYSCORE', set, '-inf', string.format('%.0f', now - ARGV[4]))
        redis.call('ZADD', set, string.format('%.0f', now), ARGV[3])
        redis.call('PEXPIRE', set, ARGV[4])
        return {redis.call('ZCARD', set), tonumber(redis.call('GET', ARGV[2] .. 'denied_version') or '0')}
        """)

    /// Exchanges budgets: of each key its name, its capacity, its tokens a second, and the tokens that were taken. Answers thousandths of
    /// tokens left. A key may owe a burst and a second's tokens: what ten instances that all use it admit in a slice.
    static let budgets = RedisScript(
        """
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local left = {}
        for i = 1, #ARGV, 4 do
          local capacity, rate = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
          local bucket = redis.call('HMGET', ARGV[i], 'tokens', 'at')
          local tokens, at = tonumber(bucket[1] or capacity), tonumber(bucket[2] or now)
          tokens = math.min(capacity, tokens + math.max(0, now - at) / 1000 * rate) - tonumber(ARGV[i + 3])
          tokens = math.max(tokens, -capacity - rate)
          redis.call('HSET', ARGV[i], 'tokens', tostring(tokens), 'at', string.format('%.0f', now))
          redis.call('PEXPIRE', ARGV[i], math.min(2678400000, math.ceil((capacity - tokens) / rate * 1000) + 1000))
          left[#left + 1] = math.floor(tokens * 1000)
        end
        return left
        """)
}

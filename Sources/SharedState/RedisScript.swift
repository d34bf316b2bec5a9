import Policy

/// A script of the store, called by its digest and sent whole when the store does not know it.
struct RedisScript {
    let text: String
    let digest: String

    init(_ text: String) {
        self.text = text
        digest = Digest.hexadecimal(Digest.sha1(Array(text.utf8)))
    }

    /// Takes, keeps or gives back places under one key: ARGV is prefix, key, instance, held, wanted, spare, limit, expiry of the record,
    /// expiry of recalls, and the former name of this instance or nothing.
    ///
    /// The record is a hash of instances and their counts. Instances whose pulse has stopped are not counted and are removed. A
    /// request that cannot be met leaves word for the others, who may have places to spare.
    static let places = RedisScript(
        """
        local prefix, key, me = ARGV[1], ARGV[2], ARGV[3]
        local held, wanted, spare, limit = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
        if redis.call('EXISTS', prefix .. 'instance:' .. me) == 0 then return redis.error_reply('GONE the instance is not known') end
        local record = prefix .. 'places:' .. key
        local others, holders = 0, {}
        local counts = redis.call('HGETALL', record)
        for i = 1, #counts, 2 do
          if counts[i] ~= me then
            if counts[i] ~= ARGV[10] and redis.call('EXISTS', prefix .. 'instance:' .. counts[i]) == 1 then
              others = others + tonumber(counts[i + 1])
              holders[#holders + 1] = counts[i]
            else
              redis.call('HDEL', record, counts[i])
            end
          end
        end
        local free = math.max(0, limit - others - held)
        local granted = math.min(wanted, free)
        if granted == wanted then
          granted = granted + math.min(spare, math.floor((free - granted) / 8))
        else
          for _, holder in ipairs(holders) do
            local recall = prefix .. 'recall:' .. holder
            redis.call('SADD', recall, key)
            redis.call('PEXPIRE', recall, ARGV[9])
          end
        end
        local count = held + granted
        if count > 0 then
          redis.call('HSET', record, me, count)
          redis.call('PEXPIRE', record, ARGV[8])
        else
          redis.call('HDEL', record, me)
        end
        return {count, others}
        """)

    /// Says that this instance lives and reads what is left for it: ARGV is prefix, instance, expiry.
    static let pulse = RedisScript(
        """
        local prefix = ARGV[1]
        if redis.call('PEXPIRE', prefix .. 'instance:' .. ARGV[2], ARGV[3]) == 0 then
          return redis.error_reply('GONE the instance is not known')
        end
        return {redis.call('SPOP', prefix .. 'recall:' .. ARGV[2], 128), redis.call('ZCARD', prefix .. 'revoked'),
                tonumber(redis.call('GET', prefix .. 'revoked:version') or '0')}
        """)

    /// Exchanges rates: ARGV is prefix, limiter, capacity, tokens a second, and then digest and tokens taken of each key. Answers
    /// thousandths of tokens left of each. A bucket may owe as much as it can hold; it expires when it would be full,
    /// or after a month: a slower one is as good as forgotten, and a longer time is none to the store.
    static let rates = RedisScript(
        """
        local capacity, rate = tonumber(ARGV[3]), tonumber(ARGV[4])
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local left = {}
        for i = 5, #ARGV, 2 do
          local key = ARGV[1] .. 'rate:' .. ARGV[2] .. ':' .. ARGV[i]
          local bucket = redis.call('HMGET', key, 'tokens', 'at')
          local tokens, at = tonumber(bucket[1] or capacity), tonumber(bucket[2] or now)
          tokens = math.min(capacity, tokens + math.max(0, now - at) / 1000 * rate) - tonumber(ARGV[i + 1])
          tokens = math.max(tokens, -capacity)
          redis.call('HSET', key, 'tokens', tostring(tokens), 'at', now)
          redis.call('PEXPIRE', key, math.min(2678400000, math.ceil((capacity - tokens) / rate * 1000) + 1000))
          left[#left + 1] = math.floor(tokens * 1000)
        end
        return left
        """)

    /// Adds revoked sessions: ARGV is prefix, the present second, and then digest and expiry of each. Those that ended anyway go.
    static let revoke = RedisScript(
        """
        local set = ARGV[1] .. 'revoked'
        redis.call('ZREMRANGEBYSCORE', set, '-inf', ARGV[2])
        for i = 3, #ARGV, 2 do redis.call('ZADD', set, ARGV[i + 1], ARGV[i]) end
        return redis.call('INCR', ARGV[1] .. 'revoked:version')
        """)
}

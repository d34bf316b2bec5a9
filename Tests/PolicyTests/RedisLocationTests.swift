import Policy
import Testing

/// The URL of the store shared by instances.
@Suite struct RedisLocationTests {
    @Test(arguments: [
        ("redis://h", "redis://h:6379/0"), ("REDIS://h", "redis://h:6379/0"), ("redis://h:7000", "redis://h:7000/0"),
        ("redis://h/", "redis://h:6379/0"), ("redis://h:1/15", "redis://h:1/15"), ("redis://10.1.2.3", "redis://10.1.2.3:6379/0"),
        ("redis://[::1]", "redis://[::1]:6379/0"), ("redis://[2001:db8::5]:99/2", "redis://[2001:db8::5]:99/2"),
        ("redis://:secret@h", "redis://h:6379/0"), ("redis://user:secret@h:5/1", "redis://h:5/1"), ("rediss://h", "rediss://h:6379/0"),
        ("redis://my_redis.default.svc:6379", "redis://my_redis.default.svc:6379/0"),
    ])
    func accepted(text: String, description: String) throws {
        let location = try #require(RedisLocation(text))
        #expect("\(location)" == description)
        #expect(!"\(location)".contains("secret"))
    }

    @Test(arguments: [
        "", "h", "redis:h", "redis:/h", "redis://", "redis:///1", "http://h", "redis://h:0",
        "redis://h:65536", "redis://h:", "redis://h:x",
        "redis://h/x", "redis://h/-1", "redis://h/1/2", "redis://h/99999999", "redis://h?db=1",
        "redis://h#1", "redis://::1", "redis://[::1",
        "redis://[h]", "redis://h h", "redis://user@h", "redis://user:@h", "redis://:%4@h", "redis://:%zz@h",
        "redis://:%ff@h", "redis://ä",
        "redis://a/b@h", "redis://h:1:2", "redis://\u{0}",
    ])
    func refused(text: String) { #expect(RedisLocation(text) == nil) }

    @Test func credentialsAreDecoded() throws {
        let location = try #require(RedisLocation("redis://us%65r:a%3Ab%40%2f%25:c@h"))
        #expect(location.user == "user" && location.password == "a:b@/%:c")
        let last = try #require(RedisLocation("redis://:p@q@h"))
        #expect(last.user == "" && last.password == "p@q" && last.host == "h")
    }

    @Test func noLongerThanItsLimit() {
        let password = String(repeating: "p", count: RedisLocation.maximumBytes)
        #expect(RedisLocation("redis://:\(password)@h") == nil)
        #expect(RedisLocation("redis://:\(password.dropLast(20))@h") != nil)
    }
}

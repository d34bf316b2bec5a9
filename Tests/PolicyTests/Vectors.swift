import Foundation

/// The published vectors, read where they lie beside the repository; nothing of them is kept here. Tests that use them say so and pass
/// when the files are absent; the tables of our own in the same suites do not need them.
enum Vectors {
    static let directory = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../../shared/vectors/aero")
        .standardized

    /// The top level of a vector file; nil, with a note, when it is not there. A file that is there and unreadable fails the test.
    static func load(_ name: String) throws -> Any? {
        let url = directory.appending(path: name)
        guard FileManager.default.fileExists(atPath: url.path) else {
            print("skipped: no vectors at \(url.path)")
            return nil
        }
        return try JSONSerialization.jsonObject(with: Data(contentsOf: url))
    }

    /// The list `key` of a vector file, of at least `count` entries so that a renamed key cannot pass for success.
    static func list(_ name: String, _ keys: String..., atLeast count: Int) throws -> [[String: Any]] {
        guard var value = try load(name) else { return [] }
        for key in keys {
            guard let object = value as? [String: Any], let next = object[key] else { throw VectorError.missing(key) }
            value = next
        }
        guard let list = value as? [[String: Any]], list.count >= count else {
            throw VectorError.missing(name + "/" + keys.joined(separator: "/"))
        }
        return list
    }
}

enum VectorError: Error {
    case missing(String)
}

extension [String: Any] {
    func string(_ key: String) -> String? { self[key] as? String }
    func integer(_ key: String) -> Int64? { (self[key] as? NSNumber)?.int64Value }
    func boolean(_ key: String) -> Bool? { self[key] as? Bool }
    func strings(_ key: String) -> [String] { self[key] as? [String] ?? [] }
}

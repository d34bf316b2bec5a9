import Glibc
import HTTP
import Policy

/// Key sets on disk, so that a start while an issuer is down serves (specification, section 9.3).
///
/// - Nothing signs a file: it is believed when it is a regular file of this process's own user that nobody else may read or write,
///   and no larger than a key set can be. Whoever can replace it can make tokens, as can whoever runs as that user.
/// - A file is written beside its place and renamed, so a reader finds the former or the new set whole.
/// - One file for each source of a provider, whose text (`KeySetLife.persisted`) says where it came from and when; what is too old is
///   not used, as if the process had run on since.
struct KeyFiles {
    /// Why a file is not used, or could not be written: one line.
    struct Fault: Error, CustomStringConvertible {
        let description: String
    }

    let directory: String

    /// Where the keys of a source are kept. Names of providers are not names of files.
    func path(provider: String, source: Int) -> String {
        "\(directory)/\(Digest.hexSHA256(provider).prefix(16))-\(source).keys"
    }

    /// Why nothing could be kept there; nil when it can.
    static func problem(_ directory: String) -> String? {
        var status = stat()
        guard stat(directory, &status) == 0 else { return "\(directory): \(SmallFile.describe(errno)); create it" }
        guard status.st_mode & S_IFMT == S_IFDIR else { return "\(directory) is not a directory" }
        guard access(directory, R_OK | W_OK | X_OK) == 0 else {
            return "\(directory): \(SmallFile.describe(errno)); the user of the process has to be able to write there"
        }
        return nil
    }

    /// What was kept; nil when nothing was.
    func read(provider: String, source: Int) throws(Fault) -> [UInt8]? {
        let path = path(provider: provider, source: source)
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw Fault(description: SmallFile.describe(errno))
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Fault(description: SmallFile.describe(errno)) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw Fault(description: "it is not a regular file") }
        guard status.st_uid == geteuid() else { throw Fault(description: "it belongs to another user") }
        guard status.st_mode & 0o077 == 0 else { throw Fault(description: "others may read or write it; its mode has to be 0600") }
        let limit = KeySetLife.persistedBytesMaximum
        guard status.st_size <= limit else { throw Fault(description: "it is larger than \(limit) bytes") }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        var count = 0
        while count < bytes.count {
            let got = bytes.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress! + count, $0.count - count) }
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw Fault(description: SmallFile.describe(errno)) }
            if got == 0 { break }
            count += got
        }
        return Array(bytes.prefix(count))
    }

    /// Keeps a set in the place of the former one; without bytes there is none any more.
    func write(_ bytes: [UInt8], provider: String, source: Int) throws(Fault) {
        let path = path(provider: provider, source: source)
        guard !bytes.isEmpty else {
            guard unlink(path) == 0 || errno == ENOENT else { throw Fault(description: SmallFile.describe(errno)) }
            return
        }
        let draft = path + ".new"
        // What an interrupted write left is in the way of O_EXCL, which keeps links from being followed.
        guard unlink(draft) == 0 || errno == ENOENT else { throw Fault(description: SmallFile.describe(errno)) }
        let descriptor = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Fault(description: SmallFile.describe(errno)) }
        let isWritten = Self.write(bytes, to: descriptor) && fsync(descriptor) == 0
        let reason = errno
        close(descriptor)
        guard isWritten, rename(draft, path) == 0 else {
            let error = isWritten ? errno : reason
            unlink(draft)
            throw Fault(description: SmallFile.describe(error))
        }
        // The name is as durable as the bytes.
        let folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard folder >= 0 else { return }
        fsync(folder)
        close(folder)
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        var count = 0
        while count < bytes.count {
            let written = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress! + count, $0.count - count) }
            if written < 0, errno == EINTR { continue }
            guard written > 0 else { return false }
            count += written
        }
        return true
    }
}

/// Keys on disk are the control thread's work: a disk may take its time.
extension ServerProcess {
    private var keyFiles: KeyFiles? {
        guard let plan = snapshot.proxy, !plan.policy.draft.stateDirectory.isEmpty else { return nil }
        return KeyFiles(directory: plan.policy.draft.stateDirectory)
    }

    /// Takes what a former process kept, for sources that have not been fetched yet.
    func restoreKeys() {
        guard let files = keyFiles, let plan = snapshot.proxy else { return }
        for (index, provider) in plan.policy.providers.enumerated() {
            for source in provider.sources.origins.indices where provider.sources.origins[source].isRemote {
                let name = provider.provider.name
                do throws(KeyFiles.Fault) {
                    guard let bytes = try files.read(provider: name, source: source) else { continue }
                    guard plan.common.keys.restore(provider: index, source: source, bytes) else { continue }
                    let age = plan.common.keys.readings[index].ageMilliseconds ?? 0
                    logger.log(.info, "key set taken from disk", ["provider": .text(name), "ageSeconds": .number(Int(age / 1000))])
                } catch {
                    logger.log(.warn, "kept key set not used: \(error)", [
                        "provider": .text(name), "path": .text(files.path(provider: name, source: source)),
                    ])
                }
            }
        }
    }

    /// Keeps what was fetched since the last call.
    func keepKeys() {
        guard let files = keyFiles, let keys = snapshot.proxy?.common.keys, keys.epoch != keptKeys else { return }
        keptKeys = keys.epoch
        for item in keys.takePersisted() {
            do throws(KeyFiles.Fault) {
                try files.write(item.file, provider: item.provider, source: item.source)
            } catch {
                logger.log(.warn, "key set not kept on disk: \(error)", [
                    "provider": .text(item.provider), "path": .text(files.path(provider: item.provider, source: item.source)),
                ])
            }
        }
    }
}

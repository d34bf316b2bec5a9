import CRing

/// What this kernel's io_uring offers of what the engine uses.
public struct Capabilities: Sendable {
    /// One thing the engine wants and whether it is there.
    public struct Item: Sendable {
        /// The kernel's own name for it.
        public let name: String
        /// Whether the engine cannot run without it.
        public let required: Bool
        /// Whether the kernel has it.
        public let present: Bool
        /// What is lost without it.
        public let consequence: String
    }

    /// Feature bits of io_uring_setup(2).
    public let features: UInt32
    /// Every item, in the order of the report.
    public let items: [Item]

    /// Required items that are missing.
    public var missing: [Item] { items.filter { $0.required && !$0.present } }

    /// Asks the kernel. Throws when it refuses io_uring altogether.
    public static func probe() throws(RingError) -> Capabilities {
        var features: UInt32 = 0
        let plain = ring_try_setup(8, 0, &features)
        guard plain == 0 else { throw RingError(code: -plain) }
        var items = SetupFlag.ladder.map { flag in
            // DEFER_TASKRUN is only accepted together with SINGLE_ISSUER.
            let companion: UInt32 = flag.bits == 1 << 13 ? 1 << 12 : flag.bits == 1 << 9 ? 1 << 8 : 0
            return Item(name: flag.name, required: false, present: ring_try_setup(8, flag.bits | companion, nil) == 0,
                        consequence: "more kernel work per message")
        }
        items += featureItems(features)
        items += operationItems()
        return Capabilities(features: features, items: items)
    }

    private static func featureItems(_ features: UInt32) -> [Item] {
        func item(_ name: String, _ bit: UInt32, required: Bool, _ consequence: String) -> Item {
            Item(name: name, required: required, present: features & bit != 0, consequence: consequence)
        }
        return [
            item("IORING_FEAT_NODROP", UInt32(IORING_FEAT_NODROP), required: true, "completions can be lost"),
            item("IORING_FEAT_SUBMIT_STABLE", UInt32(IORING_FEAT_SUBMIT_STABLE), required: true, "vectors must outlive a request"),
            item("IORING_FEAT_FAST_POLL", UInt32(IORING_FEAT_FAST_POLL), required: true, "every wait costs a kernel thread"),
            item("IORING_FEAT_EXT_ARG", UInt32(IORING_FEAT_EXT_ARG), required: true, "no wait with a time limit"),
            item("IORING_FEAT_MIN_TIMEOUT", UInt32(RING_FEATURE_MIN_TIMEOUT), required: false, "none today"),
            item("IORING_FEAT_NO_IOWAIT", UInt32(RING_FEATURE_NO_IOWAIT), required: false, "idle waits show as iowait"),
        ]
    }

    private static func operationItems() -> [Item] {
        let operations: [(String, UInt32)] = [
            ("IORING_OP_ACCEPT", IORING_OP_ACCEPT.rawValue), ("IORING_OP_CONNECT", IORING_OP_CONNECT.rawValue),
            ("IORING_OP_RECV", IORING_OP_RECV.rawValue), ("IORING_OP_SEND", IORING_OP_SEND.rawValue),
            ("IORING_OP_SENDMSG", IORING_OP_SENDMSG.rawValue), ("IORING_OP_RECVMSG", IORING_OP_RECVMSG.rawValue),
            ("IORING_OP_CLOSE", IORING_OP_CLOSE.rawValue), ("IORING_OP_ASYNC_CANCEL", IORING_OP_ASYNC_CANCEL.rawValue),
            ("IORING_OP_POLL_ADD", IORING_OP_POLL_ADD.rawValue), ("IORING_OP_SEND_ZC (Linux 6.0)", IORING_OP_SEND_ZC.rawValue),
        ]
        var storage = CRing.ring()
        guard ring_create(&storage, 8, 16, 0) == 0 else { return [] }
        defer { ring_destroy(&storage) }
        return operations.map { name, code in
            Item(name: name, required: true, present: ring_supports(&storage, Int32(code)), consequence: "the engine cannot run")
        }
    }
}

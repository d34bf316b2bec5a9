import CRing
import Glibc

/// Submissions: each entry is executed at once, or kept as a request.
extension SimulatedKernel {
    // IOSQE_BUFFER_SELECT and IORING_ASYNC_CANCEL_FD are shifted bits that Swift does not import.
    static let bufferSelect: UInt32 = 1 << 5
    static let cancelByDescriptor: UInt32 = 1 << 1
    static let skipSuccess: UInt32 = 1 << 6  // IOSQE_CQE_SKIP_SUCCESS

    func execute(_ entry: UnsafePointer<io_uring_sqe>) {
        let sqe = entry.pointee
        trace.add(.submit, at: nanoseconds, Int(sqe.opcode), Int(truncatingIfNeeded: sqe.user_data & 0xFF_FFFF), Int(sqe.fd))
        switch UInt32(sqe.opcode) {
        case IORING_OP_ASYNC_CANCEL.rawValue: return cancel(sqe)
        case IORING_OP_POLL_ADD.rawValue:
            return hold(SimulatedRequest(.poll, token: sqe.user_data, socket: nil, multishot: sqe.len & IORING_POLL_ADD_MULTI != 0))
        default: break
        }
        guard let socket = socket(sqe.fd) else {
            violation("operation \(sqe.opcode) on descriptor \(sqe.fd), which is not open")
            return post(sqe.user_data, -EBADF, 0)
        }
        switch UInt32(sqe.opcode) {
        case IORING_OP_RECVMSG.rawValue: receiveDatagrams(sqe, socket)
        case IORING_OP_SENDMSG.rawValue where socket.datagrams != nil: sendDatagrams(sqe, socket)
        case IORING_OP_ACCEPT.rawValue: accept(sqe, socket)
        case IORING_OP_CONNECT.rawValue: connect(sqe, socket)
        case IORING_OP_RECV.rawValue: receive(sqe, socket)
        case IORING_OP_SEND.rawValue:
            let part = (address: UnsafeRawPointer(bitPattern: UInt(sqe.addr))!, count: Int(sqe.len))
            send(sqe, socket, [part])
        case IORING_OP_SENDMSG.rawValue:
            let header = UnsafePointer<msghdr>(bitPattern: UInt(sqe.addr))!.pointee
            let vector = UnsafeBufferPointer(start: header.msg_iov, count: Int(header.msg_iovlen))
            send(sqe, socket, vector.map { (UnsafeRawPointer($0.iov_base), $0.iov_len) })
        case IORING_OP_CLOSE.rawValue: postInline(sqe, closeDescriptor(sqe.fd))
        default: violation("operation \(sqe.opcode) is not known")
        }
    }

    /// A completion that Linux posts before the entry that submits returns; rarely another one, later.
    private func postInline(_ sqe: io_uring_sqe, _ result: Int32) {
        if random.chance(faults.delayedCompletion / 8) {
            heap.insert(at: nanoseconds + UInt64(random.below(faults.delayNanosecondsMaximum + 1)), .postPlain(sqe.user_data, result))
        } else {
            post(sqe.user_data, result, 0)
        }
    }

    private func accept(_ sqe: io_uring_sqe, _ socket: SimulatedSocket) {
        let request = SimulatedRequest(
            .accept, token: sqe.user_data, socket: socket, multishot: UInt32(sqe.ioprio) & IORING_ACCEPT_MULTISHOT != 0)
        hold(request)
        // The number is reserved before the queue is looked at: without one the request fails even if nobody waits.
        if openDescriptors >= descriptorLimit { finish(request, -EMFILE) } else { progress(socket) }
    }

    private func connect(_ sqe: io_uring_sqe, _ socket: SimulatedSocket) {
        let request = SimulatedRequest(.connect, token: sqe.user_data, socket: socket)
        hold(request)
        let address = UnsafePointer<sockaddr_in>(bitPattern: UInt(sqe.addr))!.pointee
        let port = UInt16(bigEndian: address.sin_port)
        socket.peerPort = port
        trace.add(.connect, at: nanoseconds, Int(port), socket.identifier)
        let outcome = dial(port)
        var delay = UInt64(random.size(upTo: 2_000_000))
        if case .fail(ETIMEDOUT) = outcome { delay = UInt64(random.within(1...20)) * 1_000_000_000 }
        if case .acceptAfter(let milliseconds, _) = outcome { delay = milliseconds * 1_000_000 }
        heap.insert(at: nanoseconds + delay, .dialled(request, outcome))
    }

    func finishConnect(_ request: SimulatedRequest, _ outcome: Dial) {
        guard !request.finished, let socket = request.socket else { return }
        switch outcome {
        case .accept(let peer), .acceptAfter(_, let peer):
            socket.connected = true
            socket.peer = peer
            socket.layer = dialledLayer()
            wakePeer(socket)
            finish(request, 0)
        case .fail(let error): finish(request, -error)
        }
    }

    private func receive(_ sqe: io_uring_sqe, _ socket: SimulatedSocket) {
        guard UInt32(sqe.flags) & Self.bufferSelect != 0, Int(sqe.buf_group) < groups.count else {
            return violation("a receive selects no buffer group")
        }
        let request = SimulatedRequest(
            .receive, token: sqe.user_data, socket: socket, multishot: UInt32(sqe.ioprio) & IORING_RECV_MULTISHOT != 0,
            group: Int(sqe.buf_group))
        if socket.requests.contains(where: { $0.operation == .receive }) {
            violation("two receives on descriptor \(sqe.fd): bytes could change places")
        }
        hold(request)
        if !socket.connected, socket.error == 0 { return finish(request, -ENOTCONN) }
        if random.chance(faults.lateReadiness) { planProgress(socket) } else { progress(socket) }
    }

    private func send(_ sqe: io_uring_sqe, _ socket: SimulatedSocket, _ parts: [(address: UnsafeRawPointer, count: Int)]) {
        if socket.requests.contains(where: { $0.operation == .send }) {
            violation("two sends on descriptor \(sqe.fd): bytes could change places")
        }
        let request = SimulatedRequest(.send, token: sqe.user_data, socket: socket)
        request.parts = parts
        request.waitsForAll = Int32(sqe.msg_flags) & Int32(MSG_WAITALL) != 0
        if Int32(sqe.msg_flags) & Int32(MSG_DONTWAIT) == 0 {
            hold(request)
            if random.chance(faults.lateReadiness) { planProgress(socket) } else { progress(socket) }
            return
        }
        // MSG_DONTWAIT is never parked: it completes before the entry returns.
        if let error = takeSendError(socket) { return post(request.token, -error, 0) }
        if socket.outgoing.room == 0 || random.chance(faults.refusedWrite) { return post(request.token, -EAGAIN, 0) }
        var limit = Int.max
        if random.chance(faults.shortWrite) { limit = 1 + random.size(upTo: 70_000) }
        let taken = copyOut(request, socket, limit)
        // With MSG_WAITALL less than everything is a failure; only a success is silent (io_uring/net.c, io_send).
        let failed = !request.parts.isEmpty && request.waitsForAll
        if failed || UInt32(sqe.flags) & Self.skipSuccess == 0 { post(request.token, Int32(taken), 0) }
    }

    // MARK: cancel

    private func cancel(_ sqe: io_uring_sqe) {
        if sqe.cancel_flags & Self.cancelByDescriptor == 0 {
            guard let victim = requests[sqe.addr], !victim.cancelPlanned else { return post(sqe.user_data, -ENOENT, 0) }
            planCancel(victim)
            return post(sqe.user_data, 0, 0)
        }
        guard let socket = socket(sqe.fd) else {
            violation("cancel on descriptor \(sqe.fd), which is not open")
            return post(sqe.user_data, -EBADF, 0)
        }
        let victims = socket.requests
        for victim in victims { planCancel(victim) }
        postInline(sqe, Int32(victims.count))
    }

    private func planCancel(_ victim: SimulatedRequest) {
        victim.cancelPlanned = true
        if random.chance(faults.cancelRace) {
            // Woken at this very moment: it goes on until it looks at the mark.
            heap.insert(at: nanoseconds + UInt64(random.size(upTo: 200_000)), .cancel(victim))
        } else {
            finishCancelled(victim)
        }
    }

    func finishCancelled(_ victim: SimulatedRequest) {
        guard !victim.finished else { return }
        // A send that had begun reports what it took.
        finish(victim, victim.operation == .send && victim.done > 0 ? Int32(victim.done) : -ECANCELED)
    }
}

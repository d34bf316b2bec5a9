import TCPMux

/// The families of `/tcp-mux`.
enum MuxMetrics {
    static func write(to page: inout MetricsPage, _ shards: [MuxCounters]) {
        func sum(_ counter: MuxCounters.Counter) -> UInt64 { shards.reduce(0) { $0 &+ $1.read(counter) } }
        func samples(_ name: String, _ label: String, _ values: [(String, MuxCounters.Counter)]) {
            for (value, counter) in values { page.sample(name, "\(label)=\"\(value)\"", sum(counter)) }
        }
        page.gauge("sluice_mux_websockets_active", "WebSockets of /tcp-mux that are open", sum(.socketsActive))
        page.counter("sluice_mux_websockets_opened_total", "WebSockets of /tcp-mux that were answered 101", sum(.socketsOpened))
        page.gauge("sluice_mux_streams_active", "Streams of /tcp-mux that are open", sum(.streamsActive))
        page.counter("sluice_mux_streams_opened_total", "Streams of /tcp-mux whose OPEN passed the policy", sum(.streamsOpened))
        page.family("sluice_mux_bytes_total", "counter", "DATA bytes forwarded by /tcp-mux")
        samples("sluice_mux_bytes_total", "direction", [("from_client", .bytesFromClient), ("to_client", .bytesToClient)])
        page.family("sluice_mux_frames_total", "counter", "Frames of /tcp-mux")
        samples("sluice_mux_frames_total", "direction", [("from_client", .framesFromClient), ("to_client", .framesToClient)])
        page.family("sluice_mux_errors_total", "counter", "ERROR frames sent, by code")
        samples("sluice_mux_errors_total", "code", [
            ("policy_denied", .errorPolicyDenied), ("dial_failed", .errorDialFailed), ("protocol_error", .errorProtocol),
            ("unknown_stream", .errorUnknownStream), ("stream_limit", .errorStreamLimit), ("buffer_overflow", .errorOverflow),
        ])
        page.family("sluice_mux_streams_ended_total", "counter", "Streams of /tcp-mux that ended, by cause")
        samples("sluice_mux_streams_ended_total", "cause", [
            ("finished", .streamsFinished), ("client_reset", .streamsReset), ("connect_failed", .connectFailed),
            ("connect_timeout", .connectTimedOut), ("idle_timeout", .idleTimedOut), ("target_failed", .targetFailed),
            ("lookup_failed", .lookupFailed), ("buffer_overflow", .errorOverflow), ("websocket_ended", .socketGone),
        ])
        page.family("sluice_mux_websockets_ended_total", "counter", "WebSockets of /tcp-mux that ended, by cause")
        for counter in MuxCounters.Counter.allCases {
            if let cause = counter.cause { page.sample("sluice_mux_websockets_ended_total", "cause=\"\(cause)\"", sum(counter)) }
        }
        page.family("sluice_mux_paused_total", "counter", "Times a side of /tcp-mux was not read, by what was behind")
        samples("sluice_mux_paused_total", "behind", [("client", .targetsPaused), ("answers", .clientPaused), ("buffers", .poolPaused)])
        page.counter("sluice_mux_runs_copied_total", "Runs of bytes copied out of buffers that several streams shared", sum(.runsCopied))
    }
}

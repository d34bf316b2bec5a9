// The worker of the demonstration page that speaks `/udp`: datagrams to the echo of the service, and back.
//
// Theory of operation
//
//   frame     version 1 to an IPv4 service, version 2 to an IPv6 one: guest port, remote address, payload
//   payload   16 bytes the page and `DemoDatagram` agree on, then the pattern of `DemoPattern`
//                0  "sluicedg"   8  u32 number   12  u16 loss asked for, per mille   14  u16 zero   16…  pattern
//   pace      every few milliseconds as many as are due; a socket that is behind is not filled further, and that is said
//   checked   sender, number and every byte of what comes back; a second copy is a duplicate, a number below the last is late
//   lost      what has not come back after two seconds, judged only while the worker keeps its pace: behind a stall of the browser
//             answers may wait that nobody has looked at
//   jitter    of arrival after RFC 3550 section 6.4.1, of round-trip times: J += (|D| - J) / 16
//   reported  ten times a second: counts, some of the round trips, every loss

extension DemoPage {
    static let datagrams = #"""
        const markBytes = 16, guestPort = 40000, lostMs = 2000, tickMs = 4, stallMs = 50, recoveryMs = 250, reportMs = 100;
        const ringSize = 16384, mostQueuedBytes = 65536;
        const mark = new TextEncoder().encode("sluicedg"), shownPerReport = 12, mostPerTick = 64;
        let socket = null, timers = [], header = null, pace = { bytes: 64, perSecond: 100, lossPermille: 0 };
        let next = 0, due = 0, tickedAt = 0, stalledAt = 0, oldest = 0, last = -1, lastRoundTrip = NaN, jitter = 0;
        // By number modulo the ring: when it was sent (0: nothing under way), and its size.
        const sentAt = new Float64Array(ringSize), sizes = new Uint16Array(ringSize);
        const recent = new Float64Array(4096);
        let recentCount = 0;
        const totals = { sent: 0, returned: 0, lost: 0, late: 0, duplicated: 0, corrupt: 0, held: 0, bytes: 0 };
        let points = [], losses = [], outcomes = [];

        /** The bytes of a numeric address. */
        function addressBytes(host) {
          if (!host.includes(":")) return host.split(".").map(Number);
          const [head, tail] = host.split("::").map(part => part ? part.split(":") : []);
          const groups = tail === undefined ? head : [...head, ...Array(8 - head.length - tail.length).fill("0"), ...tail];
          return groups.flatMap(group => [parseInt(group, 16) >> 8, parseInt(group, 16) & 255]);
        }

        /** What stands in front of every payload, ours and the echo's: they differ in nothing. */
        function frameHeader(host, port) {
          const address = addressBytes(host), two = value => [value >> 8, value & 255];
          const version2 = address.length === 16 ? [0xA2, 2, 6, 0] : [];
          return Uint8Array.from([...version2, ...two(guestPort), ...address, ...two(port)]);
        }

        function sendOne(now) {
          const number = next++, slot = number % ringSize, count = Math.max(pace.bytes, markBytes);
          if (sentAt[slot]) lose(number - ringSize, now);
          const frame = new Uint8Array(header.length + count), view = new DataView(frame.buffer);
          frame.set(header);
          frame.set(mark, header.length);
          view.setUint32(header.length + 8, number);
          view.setUint16(header.length + 12, pace.lossPermille);
          frame.set(patternTable.subarray(number & 255, (number & 255) + count - markBytes), header.length + markBytes);
          sentAt[slot] = now;
          sizes[slot] = count;
          totals.sent++;
          totals.bytes += count;
          socket.send(frame);
        }

        function lose(number, now) {
          sentAt[number % ringSize] = 0;
          totals.lost++;
          losses.push(performance.timeOrigin + now);
          outcomes.push(-1);
        }

        function tick() {
          const now = performance.now();
          if (now - tickedAt > stallMs) stalledAt = now;
          while (oldest < next && now - stalledAt > recoveryMs) {
            const at = sentAt[oldest % ringSize];
            if (at && now - at < lostMs) break;
            if (at) lose(oldest, now);
            oldest++;
          }
          due = Math.min(due + (now - tickedAt) * pace.perSecond / 1000, mostPerTick);
          tickedAt = now;
          for (; due >= 1; due--) {
            if (socket.bufferedAmount > mostQueuedBytes) totals.held++; else sendOne(now);
          }
        }

        function receive(data) {
          const now = performance.now();
          if (typeof data === "string") return takeText(JSON.parse(data));
          const frame = new Uint8Array(data), count = frame.length - header.length, view = new DataView(data);
          const number = count >= markBytes ? view.getUint32(header.length + 8) : next;
          if (number >= next || number < next - ringSize || header.some((byte, i) => frame[i] !== byte)) { totals.corrupt++; return; }
          const slot = number % ringSize, at = sentAt[slot];
          if (count !== sizes[slot] || mark.some((byte, i) => frame[header.length + i] !== byte)) { totals.corrupt++; return; }
          try { verify(frame.subarray(header.length + markBytes), number & 255); } catch { totals.corrupt++; return; }
          // What was given up and comes after all is counted as lost and as nothing else.
          if (!at) { if (number >= oldest) totals.duplicated++; return; }
          sentAt[slot] = 0;
          totals.returned++;
          if (number < last) totals.late++; else last = number;
          const roundTrip = Math.max(now - at, .005);
          if (!isNaN(lastRoundTrip)) jitter += (Math.abs(roundTrip - lastRoundTrip) - jitter) / 16;
          lastRoundTrip = roundTrip;
          recent[recentCount++ % recent.length] = roundTrip;
          outcomes.push(roundTrip);
          points.push({ at: performance.timeOrigin + now, value: roundTrip });
        }

        function takeText(message) {
          if (message.type === "error") throw new Error(message.code + ": " + message.message);
          if (message.type !== "ready" || timers.length) return;
          tickedAt = performance.now();
          timers = [setInterval(tick, tickMs), setInterval(report, reportMs)];
          postMessage({ kind: "ready", sessionId: message.sessionId });
        }

        function report(extra) {
          const sorted = recent.slice(0, Math.min(recentCount, recent.length)).sort();
          const at = p => sorted.length ? sorted[Math.max(0, Math.ceil(sorted.length * p / 100) - 1)] : NaN;
          // A few stand for all, the slowest always among them; losses are told one by one.
          const every = Math.ceil(points.length / shownPerReport), most = Math.max(...points.map(point => point.value));
          const shown = points.filter((point, i) => i % every === 0 || point.value === most);
          postMessage(Object.assign({ kind: "datagrams", at: performance.timeOrigin + performance.now(), totals: { ...totals },
            points: shown, losses, outcomes: outcomes.slice(-512), jitter: recentCount > 1 ? jitter : NaN,
            percentiles: [50, 90, 99, 100].map(at) }, extra));
          points = []; losses = []; outcomes = [];
        }

        function end(error) {
          timers.forEach(clearInterval);
          if (header) report({ error });
        }

        onmessage = ({ data }) => {
          if (data.kind === "close") { timers.forEach(clearInterval); return socket && socket.close(1000); }
          if (data.kind === "pace") { pace = data.pace; recentCount = 0; return; }
          pace = data.pace;
          header = frameHeader(data.target.host, data.target.port);
          socket = new WebSocket(data.url);
          socket.binaryType = "arraybuffer";
          let isOpen = false;
          socket.onopen = () => {
            isOpen = true;
            if (data.token) socket.send(JSON.stringify({ type: "auth", token: data.token, apiKey: data.token }));
          };
          socket.onmessage = event => {
            try { receive(event.data); } catch (error) { socket.onclose = null; socket.close(1000); end(error.message); }
          };
          socket.onclose = event => end(isOpen ? "WebSocket closed with code " + event.code + (event.reason ? ": " + event.reason : "")
            : "The WebSocket upgrade was refused");
        };
        """#
}

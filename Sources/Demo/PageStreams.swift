// The worker of the demonstration page that speaks aero-tcp-mux-v1: many HTTP/1.1 connections in one WebSocket.
//
// Theory of operation
//
//   opening   OPEN for each stream and its first request right behind it: success is silent, so nothing is waited for
//   reading   the payloads of all messages are one stream of frames: type, stream id, length, payload
//   checked   every byte of every download, by its offset, against the pattern of `DemoPattern`
//   pace      each stream fetches, rests a little and fetches again: many streams together, none in a hurry
//   reported  ten times a second, bytes and fetches of every stream

extension DemoPage {
    static let streams = #"""
        const OPEN = 1, DATA = 2, CLOSE = 3, ERROR = 4, PING = 5, PONG = 6, headerBytes = 9;
        const restMs = 150, reportMs = 100, mostHeadBytes = 16384;
        let socket = null, rest = new Uint8Array(0), list = [], timer = null, target = null, byteCount = 0;

        function send(type, id, payload) {
          const frame = new Uint8Array(headerBytes + payload.length), view = new DataView(frame.buffer);
          frame[0] = type;
          view.setUint32(1, id);
          view.setUint32(5, payload.length);
          frame.set(payload, headerBytes);
          if (socket.readyState === WebSocket.OPEN) socket.send(frame);
        }

        /** u16 host length, host, u16 port, u16 metadata length. */
        function openPayload(host, port) {
          const name = new TextEncoder().encode(host), payload = new Uint8Array(6 + name.length), view = new DataView(payload.buffer);
          view.setUint16(0, name.length);
          payload.set(name, 2);
          view.setUint16(2 + name.length, port);
          return payload;
        }

        class Stream {
          constructor(id) {
            Object.assign(this, { id, state: "open", bytes: 0, fetches: 0, error: "", head: "", expected: -1, received: 0 });
          }

          fetch() {
            Object.assign(this, { head: "", expected: -1, received: 0 });
            send(DATA, this.id, new TextEncoder().encode("GET /bytes?n=" + byteCount + " HTTP/1.1\r\nHost: demo\r\n\r\n"));
          }

          fail(text) {
            if (this.state !== "open") return;
            Object.assign(this, { state: "failed", error: text });
            send(CLOSE, this.id, Uint8Array.of(2));
          }

          take(bytes) {
            if (this.state !== "open") return;
            if (this.expected < 0) {
              // The head may come in pieces; Latin-1 keeps one character a byte, so that what follows can be cut off.
              const before = this.head.length;
              this.head += new TextDecoder("latin1").decode(bytes);
              const end = this.head.indexOf("\r\n\r\n");
              if (end < 0) return this.head.length > mostHeadBytes ? this.fail("an endless head") : undefined;
              const length = /^content-length:\s*(\d+)\s*$/im.exec(this.head.slice(0, end));
              if (!this.head.startsWith("HTTP/1.1 200 ") || !length) return this.fail(this.head.split("\r\n")[0]);
              this.expected = +length[1];
              bytes = bytes.subarray(end + 4 - before);
            }
            if (this.received + bytes.length > this.expected) return this.fail("more bytes than announced");
            try { verify(bytes, this.received); } catch (error) { return this.fail(error.message); }
            this.received += bytes.length;
            this.bytes += bytes.length;
            if (this.received < this.expected) return;
            this.fetches++;
            setTimeout(() => this.state === "open" && this.fetch(), restMs);
          }
        }

        function receive(data) {
          if (typeof data === "string") throw new Error("The gateway sent a text message");
          let bytes = new Uint8Array(data);
          if (rest.length) {
            const all = new Uint8Array(rest.length + bytes.length);
            all.set(rest);
            all.set(bytes, rest.length);
            bytes = all;
          }
          let place = 0;
          while (bytes.length - place >= headerBytes) {
            const view = new DataView(bytes.buffer, bytes.byteOffset + place), length = view.getUint32(5);
            if (bytes.length - place < headerBytes + length) break;
            take(bytes[place], view.getUint32(1), bytes.subarray(place + headerBytes, place + headerBytes + length));
            place += headerBytes + length;
          }
          rest = bytes.slice(place);
        }

        function take(type, id, payload) {
          if (type === PING) return send(PONG, id, payload);
          const stream = list[id - 1];
          if (!stream) return;
          if (type === DATA) stream.take(payload);
          else if (type === CLOSE) stream.fail("closed by the service");
          else if (type === ERROR) {
            stream.state = "failed";
            const code = new DataView(payload.buffer, payload.byteOffset).getUint16(0);
            stream.error = "error " + code + ": " + new TextDecoder().decode(payload.subarray(4));
          }
        }

        function report(extra) {
          postMessage(Object.assign({ kind: "streams", at: performance.timeOrigin + performance.now(),
            streams: list.map(({ state, bytes, fetches, error }) => ({ state, bytes, fetches, error })) }, extra));
        }

        function end(error) {
          clearInterval(timer);
          report({ error });
        }

        onmessage = ({ data }) => {
          if (data.kind === "close") { clearInterval(timer); return socket && socket.close(1000); }
          ({ target, byteCount } = data);
          socket = new WebSocket(data.url, "aero-tcp-mux-v1");
          socket.binaryType = "arraybuffer";
          let isOpen = false;
          socket.onopen = () => {
            isOpen = true;
            for (let id = 1; id <= data.count; id++) {
              list.push(new Stream(id));
              send(OPEN, id, openPayload(target.host, target.port));
              list[id - 1].fetch();
            }
            timer = setInterval(report, reportMs);
          };
          socket.onmessage = event => {
            try { receive(event.data); } catch (error) { socket.onclose = null; socket.close(1000); end(error.message); }
          };
          socket.onclose = event => end(isOpen ? "WebSocket closed with code " + event.code : "The WebSocket upgrade was refused");
        };
        """#
}

// The part of the demonstration page that speaks HTTP/1.1 over a WebSocket to `/tcp`.
//
// `client` runs in the page and, unchanged, in the worker whose own part is `bulk`: a download is received and
// compared outside the page's thread, so that comparing bytes does not show up as round-trip time.

extension DemoPage {
    /// One keep-alive HTTP/1.1 connection over one WebSocket, one request at a time.
    static let client = #"""
        "use strict";
        class TunnelledHTTP {
          constructor(url) { this.url = url; this.pending = null; this.head = new Uint8Array(0); this.socket = null; }

          open() {
            return new Promise((resolve, reject) => {
              const socket = this.socket = new WebSocket(this.url);
              socket.binaryType = "arraybuffer";
              socket.onopen = () => { this.isOpen = true; resolve(); };
              socket.onmessage = event => this.receive(event.data);
              // The browser tells a page nothing about a refused upgrade, so neither can we.
              socket.onclose = event => {
                const error = new Error(this.isOpen ? "WebSocket closed with code " + event.code : "The WebSocket upgrade was refused");
                this.isOpen = false;
                reject(error);
                this.fail(error);
              };
            });
          }

          /** Sends a request. `onBody(bytes, offset)` is called for each piece; resolves to {status, length, firstByteAt}. */
          request(target, onBody) {
            return new Promise((resolve, reject) => {
              if (!this.isOpen) return reject(new Error("The connection is closed"));
              if (this.pending) return reject(new Error("A request is already under way"));
              this.pending = { resolve, reject, onBody, status: 0, length: -1, received: 0, firstByteAt: 0 };
              this.socket.send(new TextEncoder().encode("GET " + target + " HTTP/1.1\r\nHost: demo\r\n\r\n"));
            });
          }

          close() { if (this.socket) this.socket.close(1000); }

          fail(error) {
            const pending = this.pending;
            this.pending = null;
            if (pending) pending.reject(error);
          }

          abort(text) { this.fail(new Error(text)); this.close(); }

          receive(data) {
            const pending = this.pending;
            if (typeof data === "string") return this.abort("The gateway sent a text message");
            if (!pending) return this.abort("Bytes arrived that nobody asked for");
            let bytes = new Uint8Array(data);
            if (!pending.firstByteAt) pending.firstByteAt = performance.now();
            if (pending.length < 0) {
              bytes = this.takeHead(pending, bytes);
              if (!bytes) return;
            }
            if (bytes.length) {
              if (pending.received + bytes.length > pending.length) return this.abort("More bytes arrived than Content-Length says");
              if (pending.onBody) pending.onBody(bytes, pending.received);
              pending.received += bytes.length;
            }
            if (pending.received === pending.length) {
              this.pending = null;
              pending.resolve({ status: pending.status, length: pending.length, firstByteAt: pending.firstByteAt });
            }
          }

          /** Collects the response head; returns the body bytes after it, or null while it is incomplete. */
          takeHead(pending, bytes) {
            const all = new Uint8Array(this.head.length + bytes.length);
            all.set(this.head);
            all.set(bytes, this.head.length);
            let end = -1;
            for (let i = 0; i + 3 < all.length && end < 0; i++)
              if (all[i] === 13 && all[i + 1] === 10 && all[i + 2] === 13 && all[i + 3] === 10) end = i + 4;
            if (end < 0) {
              if (all.length > 16384) this.abort("The response head is larger than 16 KiB");
              else this.head = all;
              return null;
            }
            this.head = new Uint8Array(0);
            const lines = new TextDecoder("latin1").decode(all.subarray(0, end)).split("\r\n");
            const status = /^HTTP\/1\.1 (\d{3})/.exec(lines[0]);
            const length = lines.map(line => /^content-length:\s*(\d+)\s*$/i.exec(line)).find(Boolean);
            if (!status || !length) { this.abort("The response has no status line or no Content-Length"); return null; }
            pending.status = +status[1];
            pending.length = +length[1];
            if (pending.status !== 200) { this.abort("The service answered " + lines[0]); return null; }
            return all.subarray(end);
          }
        }

        // Byte i of a download is (31 i + 7) mod 256. The table is long enough to start at any phase.
        const patternTable = Uint8Array.from({ length: 65536 + 256 }, (_, i) => (i * 31 + 7) & 255);

        /** Compares bytes at an offset of the stream with the pattern; throws at the first difference. */
        function verify(bytes, offset) {
          for (let done = 0; done < bytes.length; done += 65536) {
            const end = Math.min(done + 65536, bytes.length), shift = ((offset + done) & 255) - done;
            for (let i = done; i < end; i++)
              if (bytes[i] !== patternTable[i + shift])
                throw new Error("Byte " + (offset + i) + " is " + bytes[i] + ", expected " + patternTable[i + shift]);
          }
        }

        const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
          for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
          return n >>> 0;
        });

        /** CRC-32 (ISO-HDLC) over pieces: start with 0, feed the result back. */
        function crc32(crc, bytes) {
          crc = ~crc;
          for (let i = 0; i < bytes.length; i++) crc = crcTable[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
          return ~crc >>> 0;
        }
        """#

    /// The worker: downloads while told to, one request at a time, and reports progress ten times a second.
    static let bulk = #"""
        let connection = null, isRunning = false, received = 0, reportedAt = 0;

        function report(kind, extra) {
          postMessage(Object.assign({ kind, received, at: performance.timeOrigin + performance.now() }, extra));
          received = 0;
          reportedAt = performance.now();
        }

        async function download(byteCount) {
          isRunning = true;
          report("begin");
          while (isRunning) {
            await connection.request("/bytes?n=" + byteCount, (bytes, offset) => {
              try { verify(bytes, offset); }
              catch (error) { return connection.abort(error.message); }
              received += bytes.length;
              if (performance.now() - reportedAt >= 100) report("progress");
            });
          }
          report("end");
        }

        onmessage = async ({ data }) => {
          try {
            if (data.kind === "open") {
              connection = new TunnelledHTTP(data.url);
              await connection.open();
              postMessage({ kind: "opened" });
            } else if (data.kind === "download" && !isRunning) await download(data.byteCount);
            else if (data.kind === "pause") isRunning = false;
            else if (data.kind === "close" && connection) { isRunning = false; connection.close(); }
          } catch (error) {
            isRunning = false;
            postMessage({ kind: "failed", error: error.message });
          }
        };
        """#
}

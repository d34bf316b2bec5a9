// What the demonstration page does: the steps, the measurements and their display.

extension DemoPage {
    static let script = #"""
        // Machine-readable state, for tests and for the curious.
        window.sluiceDemo = {
          state: "idle", bytesVerified: 0, roundTrips: 0, error: null,
          streams: { open: 0, failed: 0, bytesVerified: 0, fetches: 0, error: null },
          datagrams: { state: "idle", sent: 0, returned: 0, lost: 0, error: null },
          lookups: { asked: 0, answered: 0, error: null }, metrics: { samples: 0, error: null },
        };

        const byId = id => document.getElementById(id);
        const firstFetchBytes = 1 << 20, bulkRequestBytes = 16 << 20;
        const downloadMs = 3000, quietMs = 3000, pingIntervalMs = 20, readoutMs = 500;
        const rttChart = new Chart(byId("rtt")), rateChart = new Chart(byId("rate"));
        let run = null;

        const plan = [
          ["config", "Ask where the service is"], ["session", "Open a session"], ["socket", "Open a WebSocket to /tcp"],
          ["hello", "Speak HTTP/1.1 through it"], ["fetch", "Fetch and check 1 MiB"], ["measure", "Measure"],
        ];

        function setState(state, error) {
          window.sluiceDemo.state = state;
          window.sluiceDemo.error = error || null;
          byId("state").textContent = byId("state").dataset.state = state;
          byId("start").disabled = state === "starting" || state === "running";
          byId("stop").disabled = !byId("start").disabled;
          const isOn = state === "running" || state === "starting";
          byId("link-ws").classList.toggle("on", isOn);
          byId("link-tcp").classList.toggle("on", isOn);
          document.title = state === "running" ? "Sluice: running" : state === "failed" ? "Sluice: failed" : "Sluice";
        }

        function resetSteps() {
          byId("steps").replaceChildren(...plan.map(([id, title]) => {
            const item = document.createElement("li"), head = document.createElement("b");
            item.id = "step-" + id;
            head.append(title, document.createElement("span"));
            item.append(head, document.createElement("p"));
            return item;
          }));
        }

        function show(id, state, text) {
          byId("step-" + id).dataset.step = state;
          byId("step-" + id).querySelector("p").textContent = text;
        }

        /** Runs one step, shows its time and what it found. `work` resolves to [text, result]. */
        async function step(current, id, work) {
          if (current.isOver) throw new Error("Stopped");
          const began = performance.now();
          current.step = id;
          show(id, "now", "…");
          const [text, result] = await work();
          if (current.isOver) { if (current.ping) current.ping.close(); throw new Error("Stopped"); }
          show(id, "done", text);
          byId("step-" + id).querySelector("b span").textContent = formatMs(performance.now() - began);
          return result;
        }

        async function getJSON(path, options) {
          const response = await fetch(path, options)
            .catch(() => { throw new Error(path + " cannot be reached: is Sluice still running?"); });
          const answer = await response.json().catch(() => ({}));
          if (!response.ok) throw new Error(path + " answered " + response.status + (answer.message ? ": " + answer.message : ""));
          return answer;
        }

        async function start() {
          const current = run = { step: "config", quiet: [], busy: [], rates: [], isBusy: false, isOver: false, timers: [] };
          Object.assign(window.sluiceDemo, { bytesVerified: 0, roundTrips: 0 });
          resetSteps();
          setState("starting");
          try { await connect(current); }
          catch (error) { return fail(current, error); }
          if (!current.isOver) setState("running");
          startStreams(current);
          startDatagrams(current);
          startLookups(current);
          measure(current).catch(error => fail(current, error));
        }

        async function connect(current) {
          const target = await step(current, "config", async () => {
            const config = await getJSON("/demo/config.json", { cache: "no-store" });
            byId("path-tcp").textContent = config.host + ":" + config.port;
            return [config.host + ":" + config.port + ", seen from the gateway", config];
          });
          const session = await step(current, "session", async () => {
            const answer = await getJSON("/session", { method: "POST", credentials: "same-origin" });
            const hours = Math.round((Date.parse(answer.session.expiresAt) - Date.now()) / 36e5);
            return ["POST /session: 201. The cookie aero_session is HttpOnly, so this page cannot read it; it is valid for "
              + hours + " h", answer];
          });
          const url = new URL(session.endpoints.tcp, location.href);
          url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
          url.search = "?v=1&host=" + encodeURIComponent(target.host) + "&port=" + target.port;
          byId("path-ws").textContent = url.pathname + url.search;
          current.url = url.href;
          current.target = target;
          current.endpoints = session.endpoints;
          current.relay = session.udpRelay;
          current.ping = new TunnelledHTTP(url.href);
          await step(current, "socket", async () => {
            await current.ping.open();
            return ["101 Switching Protocols. From here on, each binary message is bytes for the TCP connection", null];
          });
          await step(current, "hello", async () => {
            let text = "";
            await current.ping.request("/", bytes => text += new TextDecoder().decode(bytes));
            return ["200: “" + text.split("\n")[0] + "”", null];
          });
          await step(current, "fetch", async () => {
            let crc = 0, problem = null;
            await current.ping.request("/bytes?n=" + firstFetchBytes, (bytes, offset) => {
              try { verify(bytes, offset); } catch (error) { problem = problem || error; }
              crc = crc32(crc, bytes);
            });
            let expected = 0;
            for (let done = 0; done < firstFetchBytes; done += 65536) expected = crc32(expected, patternTable.subarray(0, 65536));
            if (problem) throw problem;
            if (crc !== expected) throw new Error("CRC-32 is " + crc.toString(16) + ", expected " + expected.toString(16));
            window.sluiceDemo.bytesVerified += firstFetchBytes;
            return [firstFetchBytes.toLocaleString("en") + " bytes as expected, CRC-32 " + crc.toString(16).padStart(8, "0"), null];
          });
        }

        function fail(current, error) {
          if (current.isOver) return;
          finish(current);
          show(current.step, "failed", error.message);
          setState("failed", error.message);
        }

        function finish(current) {
          current.isOver = true;
          current.timers.forEach(clearTimeout);
          if (current.ping) current.ping.close();
          for (const worker of [current.worker, current.streamWorker, current.datagramWorker])
            if (worker) {
              worker.postMessage({ kind: "close" });
              setTimeout(() => worker.terminate(), 500);
            }
        }

        function stop() {
          const current = run;
          if (!current || current.isOver) return;
          finish(current);
          if (current.step === "measure") show("measure", "done", "Stopped. All WebSockets are closed.");
          else show(current.step, "failed", "Stopped here.");
          setState("stopped");
        }

        async function measure(current) {
          if (current.isOver) return;
          current.step = "measure";
          show("measure", "now", "Small requests all the time; downloads for " + downloadMs / 1000 + " s out of every "
            + (downloadMs + quietMs) / 1000 + " s on a WebSocket of their own");
          startWorker(current);
          while (!current.isOver) {
            const began = performance.now(), isBusy = current.isBusy;
            const answer = await current.ping.request("/ping");
            // A sample counts for the state it began and ended in; those that straddle belong to neither.
            if (isBusy === current.isBusy)
              (isBusy ? current.busy : current.quiet).push(
                { at: performance.timeOrigin + answer.firstByteAt, value: Math.max(answer.firstByteAt - began, .005) });
            window.sluiceDemo.roundTrips++;
            await new Promise(resolve => setTimeout(resolve, pingIntervalMs));
          }
        }

        function startWorker(current) {
          const source = byId("client").textContent + byId("bulk").textContent;
          const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
          const worker = current.worker = new Worker(address);
          let last = 0;
          const later = (work, ms) => current.timers.push(setTimeout(() => current.isOver || work(), ms));
          const begin = () => document.hidden ? later(begin, quietMs)
            : worker.postMessage({ kind: "download", byteCount: bulkRequestBytes });
          worker.onerror = event => fail(current, new Error(event.message || "The worker failed"));
          worker.onmessage = ({ data }) => {
            if (current.isOver) return;
            if (data.kind === "opened") { URL.revokeObjectURL(address); later(begin, quietMs); }
            if (data.kind === "failed") return fail(current, new Error(data.error));
            if (data.received) window.sluiceDemo.bytesVerified += data.received;
            if (data.kind === "begin") {
              current.isBusy = true;
              current.rates.push({ at: data.at, value: null });
              later(() => worker.postMessage({ kind: "pause" }), downloadMs);
            } else if (data.kind === "progress") {
              current.rates.push({ at: data.at, value: data.received * 1000 / (data.at - last) });
            } else if (data.kind === "end") { current.isBusy = false; later(begin, quietMs); }
            if (data.at) last = data.at;
          };
          worker.postMessage({ kind: "open", url: current.url });
        }

        const fillRow = (id, sorted, points, format) => document.querySelectorAll("#" + id + " td").forEach(
          (cell, i) => cell.textContent = format(percentile(sorted, points[i])));

        let readAt = 0;
        function draw() {
          requestAnimationFrame(draw);
          drawMetrics(performance.timeOrigin + performance.now());
          if (!run || (run.isOver && run.isDrawn)) return;
          run.isDrawn = run.isOver;
          const now = performance.timeOrigin + performance.now();
          drawDatagrams(now);
          for (const name of ["quiet", "busy", "rates"]) {
            const first = run[name].findIndex(sample => sample.at >= now - windowMs);
            run[name].splice(0, first < 0 ? run[name].length : first);
          }
          rttChart.scatter([{ samples: run.quiet, colour: "a" }, { samples: run.busy, colour: "b" }], now);
          rateChart.area(run.rates, now);
          if (now - readAt < readoutMs && !run.isOver) return;
          readAt = now;
          const quiet = sortedValues(run.quiet), busy = sortedValues(run.busy);
          const rates = sortedValues(run.rates.filter(sample => sample.value !== null));
          fillRow("row-quiet", quiet, [50, 90, 99, 100], formatMs);
          fillRow("row-busy", busy, [50, 90, 99, 100], formatMs);
          fillRow("row-rate", rates, [10, 50, 90, 100], formatRate);
          byId("fig-rtt").textContent = formatMs(percentile(quiet, 50));
          byId("fig-rate").textContent = formatRate(percentile(rates, 50));
          byId("fig-bytes").textContent = formatBytes(window.sluiceDemo.bytesVerified);
          byId("fig-bytes-note").textContent = window.sluiceDemo.error ? "see what happened" : "none differed from the pattern";
          byId("fig-count").textContent = window.sluiceDemo.roundTrips.toLocaleString("en");
        }

        byId("start").onclick = start;
        byId("stop").onclick = stop;
        byId("theme").onclick = () => {
          const root = document.documentElement;
          const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
          root.dataset.theme = isDark ? "light" : "dark";
          if (run) run.isDrawn = false;
        };
        addEventListener("resize", () => { if (run) run.isDrawn = false; });
        makePanels();
        start();
        requestAnimationFrame(draw);
        """#
}

// The panels of the demonstration page beside its two WebSockets: the grid of streams, look-ups, the gateway's figures.
//
// A panel that fails says so where it stands and leaves the rest of the page alone.

extension DemoPage {
    static let panels = #"""
        const streamCount = 32, streamBytes = 128 << 10, metricsMs = 1000, shownAnswers = 9;
        const zoneNames = [["sluice.example", "A"], ["many.sluice.example", "A"], ["six.sluice.example", "AAAA"],
          ["www.sluice.example", "A"], ["nothing.sluice.example", "A"]];
        const sparks = {};

        function makePanels() {
          byId("mux").replaceChildren(...Array.from({ length: streamCount }, (_, i) => {
            const cell = document.createElement("div"), level = document.createElement("i");
            level.style.height = "0";
            cell.append(level, document.createElement("b"), document.createElement("span"));
            cell.querySelector("b").textContent = i + 1;
            return cell;
          }));
          byId("dns-chips").replaceChildren(...zoneNames.map(([name, type]) => {
            const chip = document.createElement("button");
            chip.type = "button";
            chip.textContent = name + " " + type;
            chip.onclick = () => { byId("dns-name").value = name; byId("dns-type").value = type; lookUp(name, type); };
            return chip;
          }));
          byId("dns-form").onsubmit = event => {
            event.preventDefault();
            lookUp(byId("dns-name").value.trim(), byId("dns-type").value);
          };
          for (const name of ["slots", "bytes", "turns", "buffers"]) sparks[name] = { chart: new Chart(byId("c-" + name)), samples: [] };
          makeDatagramPanel();
          pollMetrics();
        }

        // ---- Many streams

        function startStreams(current) {
          if (current.isOver) return;
          const found = window.sluiceDemo.streams = { open: 0, failed: 0, bytesVerified: 0, fetches: 0, error: null };
          const url = new URL(current.endpoints.tcpMux, location.href);
          url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
          const source = byId("client").textContent + byId("streams").textContent;
          const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
          const worker = current.streamWorker = new Worker(address);
          let before = null;
          worker.onerror = event => showStreamFault(event.message || "The worker failed");
          worker.onmessage = ({ data }) => {
            URL.revokeObjectURL(address);
            if (current.isOver) return;
            const sum = key => data.streams.reduce((total, stream) => total + stream[key], 0);
            Object.assign(found, { open: data.streams.filter(stream => stream.state === "open").length, bytesVerified: sum("bytes"),
              failed: data.streams.filter(stream => stream.state === "failed").length, fetches: sum("fetches") });
            if (data.error) { found.error = data.error; return showStreamFault(data.error); }
            if (before && data.at - before.at < readoutMs) return;
            showStreams(data, before);
            before = data;
          };
          worker.postMessage({ kind: "open", url: url.href, count: streamCount, target: current.target, byteCount: streamBytes });
        }

        function showStreamFault(text) { byId("mux-note").textContent = "/tcp-mux: " + text; }

        function showStreams(data, before) {
          const seconds = before ? (data.at - before.at) / 1000 : NaN, found = window.sluiceDemo.streams;
          const rates = data.streams.map((stream, i) => before ? (stream.bytes - before.streams[i].bytes) / seconds : 0);
          const most = Math.max(...data.streams.map(stream => stream.bytes), 1), peak = Math.max(...rates, 1);
          data.streams.forEach((stream, i) => {
            const cell = byId("mux").children[i];
            cell.dataset.stream = stream.state;
            cell.title = stream.error || formatRate(rates[i]);
            cell.querySelector("span").textContent = stream.error ? stream.error.split(":")[0] : formatBytes(stream.bytes);
            cell.querySelector("i").style.height = Math.round(rates[i] / peak * 40) + "%";
          });
          byId("mux-note").textContent = data.streams.length + " TCP connections in one WebSocket to /tcp-mux; bars: their rates now";
          byId("mux-open").textContent = found.open + " of " + data.streams.length;
          byId("mux-rate").textContent = before ? formatRate(rates.reduce((total, rate) => total + rate, 0)) : "–";
          byId("mux-bytes").textContent = formatBytes(found.bytesVerified);
          const least = Math.min(...data.streams.filter(stream => stream.state === "open").map(stream => stream.bytes));
          byId("mux-spread").textContent = isFinite(least) ? Math.round(least / most * 100) + " %" : "–";
        }

        // ---- Look-ups

        async function startLookups(current) {
          Object.assign(window.sluiceDemo.lookups, { asked: 0, answered: 0, error: null });
          byId("dns-answers").replaceChildren();
          for (const [name, type] of [...zoneNames, zoneNames[1]]) {
            if (current.isOver) return;
            await lookUp(name, type);
          }
        }

        const codes = { 0: "NOERROR", 2: "SERVFAIL", 3: "NXDOMAIN: no such name", 5: "REFUSED: not of this zone" };

        async function lookUp(name, type) {
          const found = window.sluiceDemo.lookups, began = performance.now();
          found.asked++;
          let text, seconds = "", isGood = false;
          try {
            const response = await fetch("/dns-json?name=" + encodeURIComponent(name) + "&type=" + type, { credentials: "same-origin" });
            const answer = await response.json().catch(() => ({}));
            if (!response.ok) throw new Error(response.status + " " + (answer.message || response.statusText));
            const records = answer.Answer || [];
            isGood = answer.Status === 0 || answer.Status === 3;
            text = records.length ? records.map(record => record.data).join(", ") : codes[answer.Status] || "code " + answer.Status;
            if (answer.Status === 0 && !records.length) text = "no record of this type";
            seconds = records.length ? Math.min(...records.map(record => record.TTL)) + " s" : "";
            if (isGood) found.answered++;
          } catch (error) {
            text = error.message;
            found.error = found.error || text;
          }
          const row = document.createElement("tr");
          for (const content of [name + " " + type, text, seconds, formatMs(performance.now() - began)])
            row.appendChild(document.createElement("td")).textContent = content;
          if (!isGood) row.children[1].className = "no";
          byId("dns-answers").prepend(row);
          while (byId("dns-answers").children.length > shownAnswers) byId("dns-answers").lastChild.remove();
        }

        // ---- The gateway's figures

        /** Sums of the samples of each family, over shards and other labels. */
        function readMetrics(text) {
          const families = {};
          for (const line of text.split("\n")) {
            const sample = /^([a-z_]+)(?:\{[^}]*\})? ([-+.e0-9]+)$/i.exec(line);
            if (sample) families[sample[1]] = (families[sample[1]] || 0) + +sample[2];
          }
          return families;
        }

        let lastMetrics = null;
        async function pollMetrics() {
          const found = window.sluiceDemo.metrics;
          try {
            const text = document.hidden ? null : await fetch("/metrics", { cache: "no-store" }).then(response => response.text());
            if (text !== null) takeMetrics(readMetrics(text), performance.timeOrigin + performance.now());
            found.error = null;
          } catch (error) {
            found.error = error.message;
            lastMetrics = null;
            byId("metrics-note").textContent = "/metrics cannot be reached";
          }
          setTimeout(pollMetrics, metricsMs);
        }

        function takeMetrics(families, at) {
          const total = name => families["sluice_shard_" + name] || 0, last = lastMetrics;
          const values = { slots: total("slots_used"), bytes: total("received_bytes_total") + total("sent_bytes_total"),
            turns: total("turns_total"), buffers: total("buffers_used") };
          lastMetrics = { at, values };
          window.sluiceDemo.metrics.samples++;
          byId("metrics-note").textContent = "/metrics, once a second";
          for (const [name, { samples }] of Object.entries(sparks)) {
            const isRate = name === "bytes" || name === "turns";
            if (isRate && !last) continue;
            samples.push({ at, value: isRate ? Math.max(0, (values[name] - last.values[name]) * 1000 / (at - last.at)) : values[name] });
            while (samples[0].at < at - windowMs - metricsMs) samples.shift();
            const value = samples[samples.length - 1].value;
            byId("m-" + name).textContent = name === "bytes" ? formatRate(value)
              : name === "turns" ? Math.round(value).toLocaleString("en") + "/s" : value.toLocaleString("en");
          }
        }

        let sparksDrawnAt = 0;
        function drawMetrics(now) {
          if (now - sparksDrawnAt < 100) return;
          sparksDrawnAt = now;
          sparks.slots.chart.spark(sparks.slots.samples, now, "a");
          sparks.bytes.chart.spark(sparks.bytes.samples, now, "a");
          sparks.turns.chart.spark(sparks.turns.samples, now, "b");
          sparks.buffers.chart.spark(sparks.buffers.samples, now, "b");
        }
        """#
}

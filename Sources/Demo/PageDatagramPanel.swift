// The panel of the demonstration page for `/udp`: round trip, loss and jitter of datagrams as they happen.

extension DemoPage {
    static let datagramMarkup = #"""
        <section class="card datagrams">
          <h2>Datagrams <span class="legend" id="udp-note">UDP through one WebSocket to /udp</span></h2>
          <form id="udp-form" class="knobs">
            <label>Payload <select id="udp-bytes"><option value="16">16 B</option><option value="64" selected>64 B</option
              ><option value="512">512 B</option><option value="1200">1,200 B</option></select></label>
            <label>Pace <select id="udp-pace"><option value="50">50/s</option><option value="250" selected>250/s</option
              ><option value="1000">1,000/s</option><option value="4000">4,000/s</option></select></label>
            <label>Let the service lose <select id="udp-loss"><option value="0">nothing</option><option value="10">1 %</option
              ><option value="50">5 %</option><option value="200">20 %</option></select></label>
            <span class="route"><b>browser</b> /udp <b>Sluice</b> UDP <b id="udp-target">echo</b></span>
          </form>
          <div class="twins">
            <div><h3>Round trip <span class="legend"><i class="a"></i>back <i class="lost"></i>lost</span></h3>
              <canvas id="udp-rtt" role="img" aria-label="Round trips and losses of datagrams over the last 30 seconds"></canvas></div>
            <div><h3>Jitter <span class="legend"><i class="b"></i>smoothed, RFC 3550</span></h3>
              <canvas id="udp-jitter" role="img" aria-label="Jitter of datagrams over the last 30 seconds"></canvas></div>
          </div>
          <h3>The last datagrams, newest right
            <span class="legend"><i class="a"></i>back: the higher, the slower <i class="lost"></i>lost</span></h3>
          <canvas id="udp-tape" role="img" aria-label="Outcome of each of the last datagrams"></canvas>
          <p class="strip"><span>Sent <b id="udp-sent">–</b></span><span>Back <b id="udp-returned">–</b></span
            ><span>Lost <b id="udp-lost">–</b></span><span>p50 <b id="udp-p50">–</b></span><span>p99 <b id="udp-p99">–</b></span
            ><span>Jitter <b id="udp-j">–</b></span><span>Out of order <b id="udp-late">–</b></span
            ><span>Differing <b id="udp-corrupt">–</b></span></p>
        </section>
        """#

    static let datagramPanel = #"""
        const tapeLength = 512;
        const udp = { points: [], losses: [], jitters: [], tape: [] };
        const udpCharts = {};

        function makeDatagramPanel() {
          for (const name of ["rtt", "jitter", "tape"]) udpCharts[name] = new Chart(byId("udp-" + name));
        }

        const chosenPace = () => ({ bytes: +byId("udp-bytes").value, perSecond: +byId("udp-pace").value,
          lossPermille: +byId("udp-loss").value });

        function startDatagrams(current) {
          if (current.isOver) return;
          const found = window.sluiceDemo.datagrams = { state: "opening", sent: 0, returned: 0, lost: 0, late: 0, duplicated: 0, corrupt: 0,
            held: 0, bytes: 0, medianMs: null, jitterMs: null, error: null };
          for (const list of Object.values(udp)) list.length = 0;
          const relay = current.relay || {}, url = new URL((relay.endpoints || {}).udp || "/udp", relay.baseUrl || location.href);
          url.protocol = url.protocol === "https:" || url.protocol === "wss:" ? "wss:" : "ws:";
          const { host, port } = current.target;
          byId("udp-target").textContent = (host.includes(":") ? "[" + host + "]" : host) + ":" + port;
          const source = byId("client").textContent + byId("datagrams").textContent;
          const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
          const worker = current.datagramWorker = new Worker(address);
          byId("udp-form").onchange = () => current.isOver || worker.postMessage({ kind: "pace", pace: chosenPace() });
          byId("udp-form").onsubmit = event => event.preventDefault();
          const fault = text => {
            Object.assign(found, { state: "failed", error: text });
            byId("udp-note").textContent = "/udp: " + text;
          };
          worker.onerror = event => fault(event.message || "The worker failed");
          worker.onmessage = ({ data }) => {
            URL.revokeObjectURL(address);
            if (current.isOver) return;
            if (data.kind === "ready") {
              found.state = "ready";
              byId("udp-note").textContent = "UDP through one WebSocket to /udp, session " + data.sessionId.slice(0, 8) + "…";
              return;
            }
            Object.assign(found, data.totals, { medianMs: data.percentiles[0], jitterMs: data.jitter });
            if (data.error) fault(data.error);
            takeDatagrams(data);
          };
          worker.postMessage({ kind: "open", url: url.href, target: current.target, pace: chosenPace(), token: relay.token });
        }

        function takeDatagrams(data) {
          udp.points.push(...data.points);
          udp.losses.push(...data.losses.map(at => ({ at, value: 0 })));
          if (!isNaN(data.jitter)) udp.jitters.push({ at: data.at, value: data.jitter });
          udp.tape.push(...data.outcomes);
          udp.tape.splice(0, Math.max(0, udp.tape.length - tapeLength));
          const { sent, returned, lost, late, corrupt } = data.totals, count = value => value.toLocaleString("en");
          byId("udp-sent").textContent = count(sent);
          byId("udp-returned").textContent = count(returned);
          byId("udp-lost").textContent = count(lost) + (sent ? " (" + (lost * 100 / sent).toFixed(lost ? 2 : 0) + " %)" : "");
          byId("udp-lost").classList.toggle("no", lost > 0);
          byId("udp-p50").textContent = formatMs(data.percentiles[0]);
          byId("udp-p99").textContent = formatMs(data.percentiles[2]);
          byId("udp-j").textContent = formatMs(data.jitter);
          byId("udp-late").textContent = count(late);
          byId("udp-corrupt").textContent = count(corrupt);
        }

        /** One bar a datagram: its height the round trip on a logarithmic scale, a lost one full and in the colour of failure. */
        function drawTape(chart) {
          chart.begin();
          const c = chart.context, width = chart.canvas.clientWidth, height = chart.canvas.clientHeight, bar = width / tapeLength;
          const back = udp.tape.filter(value => value >= 0), low = .05, high = Math.max(...back, 2);
          c.fillStyle = chart.colour("grid");
          c.fillRect(0, height - 1, width, 1);
          udp.tape.forEach((value, i) => {
            const x = width - (udp.tape.length - i) * bar;
            const share = value < 0 ? 1 : Math.max(.08, Math.log(Math.max(value, low) / low) / Math.log(high / low));
            c.fillStyle = chart.colour(value < 0 ? "bad" : "a");
            c.globalAlpha = value < 0 ? 1 : .35 + .5 * share;
            c.fillRect(x, height - height * share, Math.max(bar - .6, .8), height * share);
          });
          c.globalAlpha = 1;
        }

        let datagramsDrawnAt = 0;
        function drawDatagrams(now) {
          if (now - datagramsDrawnAt < 50) return;
          datagramsDrawnAt = now;
          for (const name of ["points", "losses", "jitters"]) {
            const first = udp[name].findIndex(sample => sample.at >= now - windowMs);
            udp[name].splice(0, first < 0 ? udp[name].length : first);
          }
          udpCharts.rtt.scatter([{ samples: udp.points, colour: "a" }], now);
          udpCharts.rtt.ticks(udp.losses, now, "bad");
          udpCharts.jitter.line(udp.jitters, now, "b", tick => tick + " ms");
          drawTape(udpCharts.tape);
        }
        """#
}

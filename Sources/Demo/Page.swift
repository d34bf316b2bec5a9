// The newcomer's page: one self-contained HTML document, served at `/demo`.
//
// Theory of operation
//
//   goal      show, in a browser and with no network, that Sluice carries TCP over WebSocket, and how fast
//   inputs    `GET /demo/config.json`, which names the local service: {"host":"127.0.0.1","port":N}
//   flow      POST /session, then two WebSockets to /tcp, each carrying a keep-alive HTTP/1.1 connection:
//             one for small requests (round-trip time), one in a worker for downloads (throughput)
//   beside    one WebSocket to /tcp-mux with 32 HTTP/1.1 connections in it, in a worker; one to /udp with datagrams to the
//             service's echo, in a worker; look-ups through /dns-json, answered by the service for a zone of its own;
//             /metrics, once a second
//   checked   every byte of every download and datagram against the pattern of `DemoPattern`
//   outputs   for people: steps, path, charts. For tests: `window.sluiceDemo` and `document.title`
//
// The document is split over files by concern: markup here, then style, clients, charts, panels and script.

/// The page served at `/demo`.
public enum DemoPage {
    /// Path of the page.
    public static let path: StaticString = "/demo"
    /// Path of the parameters the page reads.
    public static let configurationPath: StaticString = "/demo/config.json"
    /// Media type of the page.
    public static let contentType: StaticString = "text/html; charset=utf-8"

    /// The whole document, UTF-8.
    public static let html: String = """
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <link rel="icon" href="data:,">
        <title>Sluice</title>
        <style>
        \(style)
        </style>
        </head>
        <body>
        \(markup)
        <script id="client">
        \(client)
        </script>
        <script id="bulk" type="text/plain">
        \(bulk)
        </script>
        <script id="streams" type="text/plain">
        \(streams)
        </script>
        <script id="datagrams" type="text/plain">
        \(datagrams)
        </script>
        <script>
        \(charts)
        \(panels)
        \(datagramPanel)
        \(script)
        </script>
        </body>
        </html>

        """

    /// The parameters of the page, as JSON.
    ///
    /// - Parameters:
    ///   - host: numeric address of the local service. It is written between quotes as it stands.
    ///   - port: its TCP port.
    public static func configuration(host: String, port: UInt16) -> String {
        #"{"host":"\#(host)","port":\#(port)}"#
    }

    static let markup = #"""
        <header>
          <div class="brand">
            <svg viewBox="0 0 32 32" aria-hidden="true"><path d="M5 4v24M27 4v24"/><path d="M5 10h22"/>
              <path class="water" d="M5 18c3.7-3 7.3-3 11 0s7.3 3 11 0M5 24c3.7-3 7.3-3 11 0s7.3 3 11 0"/></svg>
            <div><h1>Sluice</h1><p>TCP and UDP services, reached from this browser tab.</p></div>
          </div>
          <div class="controls">
            <span id="state" class="state" role="status">idle</span>
            <button id="start" type="button">Start</button>
            <button id="stop" type="button" disabled>Stop</button>
            <button id="theme" type="button" class="quiet" aria-label="Switch between light and dark" title="Light or dark"
              ><svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="5.6"/><path
              d="M8 2.4a5.6 5.6 0 0 1 0 11.2z"/></svg></button>
          </div>
        </header>
        <main>
          <section class="card path" aria-label="The path of a byte">
            <div class="node"><b>Browser</b><span>this page</span></div>
            <div class="link" id="link-ws"><span>WebSocket</span><i></i><small id="path-ws">/tcp</small></div>
            <div class="node own"><b>Sluice</b><span>one shard, one ring</span></div>
            <div class="link" id="link-tcp"><span>TCP</span><i></i><small id="path-tcp">&nbsp;</small></div>
            <div class="node"><b>Service</b><span>HTTP/1.1, private</span></div>
          </section>

          <section class="figures" aria-label="Results so far">
            <div><span>Round trip, median</span><b id="fig-rtt">–</b><small id="fig-rtt-note">quiet connection</small></div>
            <div><span>Throughput</span><b id="fig-rate">–</b><small id="fig-rate-note">browser downloads, checked</small></div>
            <div><span>Bytes verified</span><b id="fig-bytes">–</b><small id="fig-bytes-note">against the pattern</small></div>
            <div><span>Round trips</span><b id="fig-count">–</b><small id="fig-count-note">requests of one kept connection</small></div>
          </section>

          <div class="split">
            <section class="card">
              <h2>What happened</h2>
              <ol id="steps" class="steps"></ol>
            </section>
            <div class="charts">
              <section class="card">
                <h2>Round-trip time <span class="legend"><i class="a"></i>quiet <i class="b"></i>beside a download</span></h2>
                <canvas id="rtt" role="img" aria-label="Round-trip time over the last 30 seconds"></canvas>
                <table><thead><tr><th></th><th>p50</th><th>p90</th><th>p99</th><th>max</th></tr></thead>
                  <tbody><tr id="row-quiet"><th>quiet</th><td>–</td><td>–</td><td>–</td><td>–</td></tr>
                  <tr id="row-busy"><th>beside a download</th><td>–</td><td>–</td><td>–</td><td>–</td></tr></tbody></table>
              </section>
              <section class="card">
                <h2>Throughput <span class="legend"><i class="a"></i>download, every byte compared</span></h2>
                <canvas id="rate" role="img" aria-label="Throughput over the last 30 seconds"></canvas>
                <table><thead><tr><th></th><th>p10</th><th>p50</th><th>p90</th><th>max</th></tr></thead>
                  <tbody><tr id="row-rate"><th>per sample</th><td>–</td><td>–</td><td>–</td><td>–</td></tr></tbody></table>
              </section>
            </div>
          </div>
          <section class="card streams">
            <h2>Many streams, one WebSocket <span class="legend" id="mux-note">/tcp-mux</span></h2>
            <div id="mux" class="cells" role="img" aria-label="Bytes received on each stream"></div>
            <p class="strip"><span>Open <b id="mux-open">–</b></span><span>Together <b id="mux-rate">–</b></span
              ><span>Verified <b id="mux-bytes">–</b></span><span>Slowest to fastest <b id="mux-spread">–</b></span></p>
          </section>

        \#(datagramMarkup)
          <div class="halves">
            <section class="card">
              <h2>Look up a name <span class="legend">/dns-json, cached by the gateway</span></h2>
              <form id="dns-form" class="ask">
                <input id="dns-name" value="many.sluice.example" maxlength="253" spellcheck="false" autocomplete="off" aria-label="Name">
                <select id="dns-type" aria-label="Type"><option>A</option><option>AAAA</option><option>CNAME</option></select>
                <button type="submit">Look up</button>
              </form>
              <p class="chips" id="dns-chips"></p>
              <table class="answers"><thead><tr><th>question</th><th>answer</th><th>TTL</th><th>took</th></tr></thead>
                <tbody id="dns-answers"></tbody></table>
            </section>
            <section class="card">
              <h2>The gateway's own figures <span class="legend" id="metrics-note">/metrics, once a second</span></h2>
              <div class="gauges">
                <figure><figcaption>Connections <b id="m-slots">–</b></figcaption><canvas id="c-slots"></canvas></figure>
                <figure><figcaption>Bytes <b id="m-bytes">–</b></figcaption><canvas id="c-bytes"></canvas></figure>
                <figure><figcaption>Turns <b id="m-turns">–</b></figcaption><canvas id="c-turns"></canvas></figure>
                <figure><figcaption>Buffers in use <b id="m-buffers">–</b></figcaption><canvas id="c-buffers"></canvas></figure>
              </div>
            </section>
          </div>
          <p class="foot">Everything on this page comes from the machine you reached it on. Figures include the browser's own cost
            of WebSocket messages, scheduling and comparison, so they say what a page can use, not what the gateway can carry:
            for that, run <code>Perf/run</code>.</p>
        </main>
        """#
}

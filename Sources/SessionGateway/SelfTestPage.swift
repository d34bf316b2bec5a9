/// The browser self-test page (`AERO_GATEWAY_E2E=1`, `GET /e2e`): says in the browser whether the gateway can be used from
/// where the page was loaded. Results stand in the page, in `document.title` and in `window.gatewaySelfTest`.
///
/// Addresses are relative, so the page works under the base path and behind a proxy that strips it.
enum SelfTestPage {
    static let html = #"""
        <!doctype html>
        <html lang="en">
        <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <meta name="color-scheme" content="light dark">
        <link rel="icon" href="data:,">
        <title>Gateway self-test: running</title>
        <style>
        body{font:15px/1.6 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}
        li::marker{content:"… "}li.ok::marker{content:"✓ "}li.bad::marker{content:"✗ "}li.bad{color:#c33}small{opacity:.7}
        </style>
        </head>
        <body>
        <h1>Gateway self-test</h1>
        <ol id="list"></ol>
        <p id="verdict">running</p>
        <script>
        "use strict";
        const results = [];
        window.gatewaySelfTest = { state: "running", results };

        async function ask(path, status, options) {
          const response = await fetch(path, Object.assign({ credentials: "same-origin", cache: "no-store" }, options));
          if (response.status !== status) throw new Error(path + " answered " + response.status + ", expected " + status);
          return response;
        }

        /** A refused upgrade and an unreachable gateway look alike to a page, so the plain request is the first test. */
        function upgrade(path, protocols) {
          return new Promise((resolve, reject) => {
            const url = new URL(path, location.href);
            url.protocol = url.protocol.replace("http", "ws");
            const socket = protocols ? new WebSocket(url, protocols) : new WebSocket(url);
            socket.onopen = () => { resolve("selected protocol: " + (socket.protocol || "none")); socket.close(1000); };
            socket.onclose = event => reject(new Error("closed with code " + event.code));
          });
        }

        const tests = [
          ["The gateway is alive", async () => { await (await ask("healthz", 200)).json(); }],
          ["It is ready", async () => { await ask("readyz", 200); }],
          ["It says its version", async () => (await (await ask("version", 200)).json()).version],
          ["It opens a session", async () => {
            const answer = await (await ask("session", 201, { method: "POST" })).json();
            if (Object.keys(answer.endpoints).length !== 6) throw new Error("six endpoints expected");
            return "valid until " + answer.session.expiresAt;
          }],
          ["The browser keeps the cookie", async () => {
            // A preflighted look-up without upstreams still needs the session: 401 would say that the cookie was not sent.
            const response = await fetch("dns-json", { credentials: "same-origin" });
            if (response.status === 401) throw new Error("the session cookie was not sent");
          }],
          ["A stream multiplexer opens", () => upgrade("tcp-mux", "aero-tcp-mux-v1")],
          ["It counts requests", async () => {
            if (!(await (await ask("metrics", 200)).text()).includes("http_requests_total")) throw new Error("a family is missing");
          }],
        ];

        (async () => {
          let failed = 0;
          for (const [name, work] of tests) {
            const item = document.getElementById("list").appendChild(document.createElement("li"));
            item.textContent = name + " ";
            const note = item.appendChild(document.createElement("small"));
            try {
              note.textContent = await work() || "";
              item.className = "ok";
            } catch (error) {
              note.textContent = error.message;
              item.className = "bad";
              failed++;
            }
            results.push({ name, ok: item.className === "ok", note: note.textContent });
          }
          const verdict = failed ? failed + " of " + tests.length + " failed" : "all passed";
          window.gatewaySelfTest.state = failed ? "failed" : "passed";
          document.getElementById("verdict").textContent = verdict;
          document.title = "Gateway self-test: " + verdict;
        })();
        </script>
        </body>
        </html>

        """#
}

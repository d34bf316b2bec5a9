"""The demonstration: its service over HTTP, and its page in headless Chromium from Debian, driven by selenium."""
import base64
import hashlib
import http.client
import json
import shutil
import time

import services
from cases_proxy import free_port
from harness import Skip, case, check, equal, eventually
from rawsocket import head, refusal, tcp
from secure import LOCAL, certificate, openssl

# The page and its service need ports of their own on a machine that may run another demonstration.
ARGUMENTS = ["--demo", "--set", "demo.service_address=127.0.0.1:0"]

START_SECONDS = 30
# The page alternates 3 s of small requests with 3 s that have a download beside them.
MEASURE_SECONDS = 9
# The grid of streams: how many there are, and what each must have fetched at least once by then.
STREAMS, STREAM_BYTES = 32, 128 << 10
# What the page looks up by itself, in its order, and what the zone of the service says.
LOOKUPS = [("sluice.example A", "192.0.2.10"), ("many.sluice.example A", ", ".join(f"198.51.100.{number}" for number in range(1, 9))),
           ("six.sluice.example AAAA", "2001:db8::6"), ("www.sluice.example A", "sluice.example, 192.0.2.10"),
           ("nothing.sluice.example A", "NXDOMAIN: no such name")]
LOOKUPS.append(LOOKUPS[1])
# Fetched by then on any machine that can run the browser: the first fetch and one download.
LEAST_BYTES = (1 << 20) + (16 << 20)


@case("demonstration-service")
def service(context):
    server = context.server(ARGUMENTS, private=False)
    port = json.loads(server.request("GET", "/demo/config.json")[1])["port"]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)

    def ask(method, target, body=None):
        connection.request(method, target, body)
        response = connection.getresponse()
        return response.status, response.getheader("Content-Length"), response.read()
    status, _, body = ask("GET", "/")
    check(status == 200 and body.startswith(b"Hello from a private TCP service.\n"), "/", status, body)
    equal(ask("GET", "/ping"), (200, "5", b"pong\n"), "/ping")
    for count in (0, 1, 255, 256, 257, 100_000, 5_000_001):
        status, length, body = ask("GET", f"/bytes?n={count}")
        check((status, length, len(body)) == (200, str(count), count), f"{count} bytes", status, length, len(body))
        check(body == (services.PATTERN * (count // len(services.PATTERN) + 1))[:count], f"the pattern in {count} bytes")
    equal(ask("HEAD", "/bytes?n=1000"), (200, "1000", b""), "HEAD")
    equal(ask("HEAD", "/bytes?x=1&n=1073741824")[:2], (200, "1073741824"), "the largest download")
    equal(ask("POST", "/sink", b"x" * 70_000), (200, "6", b"70000\n"), "/sink")
    for method, target, expected in (("GET", "/bytes?n=1073741825", 400), ("GET", "/bytes?n=" + "9" * 60, 400), ("GET", "/bytes", 400),
                                     ("GET", "/bytes?n=", 400), ("GET", "/bytes?n=-1", 400), ("GET", "/bytes?n=1x", 400),
                                     ("GET", "/sink", 405), ("POST", "/ping", 405), ("GET", "/nothing", 404)):
        equal(ask(method, target)[0], expected, f"{method} {target[:40]}")
    # The one private target a demonstration may reach.
    cookie = server.session()
    equal(refusal(server, head(tcp(port), cookie))[0], 101, "the service through /tcp")
    equal(refusal(server, head(tcp(server.port), cookie)), (403, "Target port not allowed"), "another port")
    equal(refusal(server, head(tcp(port, "127.0.0.2"), cookie)), (403, "Target host not allowed"), "another host")


def browser(context, size="1280,1240", *arguments):
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        raise Skip("the Python package selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        raise Skip("chromium is not installed (Debian packages chromium and chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    # Containers have neither user namespaces for the sandbox nor a large /dev/shm.
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", f"--window-size={size}",
                     "--disable-background-networking", f"--user-data-dir={context.folder}/profile", *arguments):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    context.defer(started.quit)
    return started


@case("browser-demonstration")
def demonstration(context):
    chromium = browser(context)
    server = context.server(ARGUMENTS, private=False)
    response, body = server.request("GET", "/demo/config.json")
    equal(response.status, 200, "/demo/config.json")
    target = json.loads(body)
    check(target["host"] == "127.0.0.1" and 0 < target["port"] < 65536, "parameters of the page", target)
    response, body = server.request("GET", "/demo")
    equal((response.status, response.getheader("Content-Type")), (200, "text/html; charset=utf-8"), "/demo")
    check(b"http://" not in body.replace(b"http://www.w3.org", b"") and b"https://" not in body, "the page refers to nothing outside")
    for host in ("localhost", "127.0.0.1"):
        chromium.get(f"http://{host}:{server.port}/demo")
        eventually(lambda: chromium.title in ("Sluice: running", "Sluice: failed"), f"the page at {host} gets somewhere", START_SECONDS)
        equal(chromium.title, "Sluice: running", f"title at {host}; page says {state(chromium)}")
    time.sleep(MEASURE_SECONDS)
    found = state(chromium)
    screenshot = context.folder / "demonstration.png"
    chromium.save_screenshot(str(screenshot))
    equal((found["state"], found["error"]), ("running", None), "state of the page")
    check(found["bytesVerified"] >= LEAST_BYTES, "bytes verified", found)
    check(found["roundTrips"] >= 50, "round trips", found)
    chromium.find_element("id", "stop").click()
    equal(state(chromium)["state"], "stopped", "state after Stop")
    chromium.find_element("id", "start").click()
    eventually(lambda: chromium.title == "Sluice: running", "the page starts again", START_SECONDS)
    errors = [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    # A panel whose endpoint this build or listener does not serve says so on the page and in the console.
    equal([error for error in errors if "/tcp-mux" not in error and "/dns-json" not in error], [], "errors in the console")
    context.note(f"{found['bytesVerified'] / (1 << 20):.0f} MiB verified, {found['roundTrips']} round trips; screenshot {screenshot}")


@case("browser-demonstration-panels")
def panels(context):
    """The streams in one WebSocket, the look-ups and the gateway's own figures."""
    chromium = browser(context, "1280,2150")
    # No resolvers named: the page's look-ups are answered by the service itself.
    server = context.server(ARGUMENTS, private=False, DNS_UPSTREAMS=None)
    chromium.get(f"http://127.0.0.1:{server.port}/demo")
    eventually(lambda: chromium.title in ("Sluice: running", "Sluice: failed"), "the page gets somewhere", START_SECONDS)
    time.sleep(MEASURE_SECONDS)
    found = state(chromium)
    for theme in ("light", "dark"):
        chromium.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
        time.sleep(0.5)
        chromium.save_screenshot(str(context.folder / f"demonstration-{theme}.png"))
    equal((found["state"], found["error"]), ("running", None), "state of the page")
    streams = found["streams"]
    equal((streams["open"], streams["failed"], streams["error"]), (STREAMS, 0, None), "streams")
    check(streams["bytesVerified"] >= STREAMS * STREAM_BYTES and streams["fetches"] >= STREAMS, "bytes verified on streams", streams)
    cells = chromium.execute_script("return [...document.querySelectorAll('#mux div')].map(cell => cell.dataset.stream)")
    equal(cells, ["open"] * STREAMS, "cells of the grid")
    equal((found["lookups"]["answered"], found["lookups"]["error"]), (len(LOOKUPS), None), "look-ups")
    rows = chromium.execute_script("return [...document.querySelectorAll('#dns-answers tr')]"
                                   ".map(row => [...row.cells].map(cell => cell.textContent))")
    equal([tuple(row[:2]) for row in reversed(rows)], LOOKUPS, "answers shown")
    name = chromium.find_element("id", "dns-name")
    name.clear()
    name.send_keys("four.sluice.example")
    chromium.find_element("css selector", "#dns-form button").click()
    eventually(lambda: state(chromium)["lookups"]["answered"] == len(LOOKUPS) + 1, "a name that was typed in is looked up")
    figures = chromium.execute_script("return ['slots', 'bytes', 'turns', 'buffers']"
                                      ".map(name => document.getElementById('m-' + name).textContent)")
    check(found["metrics"]["samples"] >= 5 and found["metrics"]["error"] is None, "samples of the gateway's figures", found)
    context.note(f"{streams['bytesVerified'] / (1 << 20):.0f} MiB verified on {STREAMS} streams; figures {figures}; "
                 f"screenshots in {context.folder}")
    check("–" not in figures and not figures[1].startswith("0 ") and figures[2] != "0/s", "the gateway's figures are shown", figures)


@case("browser-demonstration-datagrams")
def datagrams(context):
    """Datagrams through /udp and back: round trips and jitter as they happen, and losses counted where there are some."""
    chromium = browser(context, "1280,2720")
    server = context.server(ARGUMENTS, private=False, DNS_UPSTREAMS=None)
    chromium.get(f"http://127.0.0.1:{server.port}/demo")
    eventually(lambda: chromium.title in ("Sluice: running", "Sluice: failed"), "the page gets somewhere", START_SECONDS)

    def found(): return state(chromium)["datagrams"]

    def choose(knob, value): chromium.find_element("css selector", f"#udp-{knob} option[value='{value}']").click()
    eventually(lambda: found()["returned"] >= 1000, "datagrams come back", START_SECONDS)
    quiet = found()
    equal((quiet["state"], quiet["error"], quiet["corrupt"], quiet["duplicated"]), ("ready", None, 0, 0), "state of the panel")
    check(quiet["medianMs"] > 0 and quiet["jitterMs"] >= 0, "round trip and jitter", quiet)

    def relayed():
        samples, _ = server.metrics()
        names = ("datagrams_in", "datagrams_out", "dropped")
        return [samples[f'aero_webrtc_udp_relay_events_total{{event="udp_ws_{name}"}}'] for name in names]
    # What the browser counted is what the relay did: nothing is lost on the way, even if the browser should take long to look.
    sent, returned, dropped = relayed()
    check(sent >= quiet["sent"] and returned >= quiet["returned"] and dropped == 0, "the relay's figures", sent, returned, dropped, quiet)
    check(sent - returned < 100, "datagrams that did not come back to the relay", sent, returned)

    # The largest payload, quickly, with every twentieth lost by the service.
    choose("bytes", 1200)
    choose("pace", 1000)
    choose("loss", 50)
    before, relayed_before = found(), relayed()
    eventually(lambda: found()["sent"] >= before["sent"] + 4000 and found()["lost"] > before["lost"] + 50, "datagrams at the higher pace",
               START_SECONDS)
    relayed_after = relayed()
    for theme in ("light", "dark"):
        chromium.execute_script("document.documentElement.dataset.theme = arguments[0]", theme)
        time.sleep(0.5)
        chromium.save_screenshot(str(context.folder / f"datagrams-{theme}.png"))
    choose("loss", 0)
    after = found()
    share = 1 - (relayed_after[1] - relayed_before[1]) / (relayed_after[0] - relayed_before[0])
    check(0.03 < share < 0.08, "share of datagrams lost when 5 % are asked for", relayed_before, relayed_after)
    # What the service lost the page shows once it has waited for it; all of it in the end.
    lost = relayed_after[0] - relayed_after[1] - 100
    eventually(lambda: found()["lost"] >= lost, f"the page counts {lost} losses", START_SECONDS)
    equal((after["state"], after["error"], after["corrupt"], after["duplicated"]), ("ready", None, 0, 0), "state of the panel under loss")
    check(after["bytes"] - before["bytes"] > 3_000_000, "bytes of large datagrams", before, after)
    shown = chromium.execute_script("return ['sent', 'returned', 'lost', 'p50', 'p99', 'j', 'late', 'corrupt']"
                                    ".map(name => document.getElementById('udp-' + name).textContent)")
    check("–" not in shown and shown[2] != "0" and shown[3].endswith("ms"), "figures shown", shown)
    # Pixels of the charts: the colour of losses on the tape, points and a line on the others.
    for name, least in (("rtt", 500), ("jitter", 200), ("tape", 2000)):
        painted = chromium.execute_script(
            "const c = document.getElementById('udp-' + arguments[0]), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            "let n = 0; for (let i = 3; i < d.length; i += 4) if (d[i] > 40) n++; return n", name)
        check(painted >= least, f"pixels of the chart {name}", painted)
    chromium.find_element("id", "stop").click()
    eventually(lambda: server.metrics()[0]["sluice_udp_websockets_active"] == 0, "Stop closes the WebSocket")
    eventually(lambda: server.metrics()[0]["sluice_udp_sockets_active"] == 0, "and the relay's socket")
    errors = [entry["message"] for entry in chromium.get_log("browser") if entry["level"] == "SEVERE"]
    equal(errors, [], "errors in the console")
    context.note(f"{after['returned']} back of {after['sent']}, median {quiet['medianMs']:.2f} ms, jitter {quiet['jitterMs']:.2f} ms, "
                 f"{100 * share:.1f} % lost of 5 % asked for; screenshots in {context.folder}")


@case("browser-self-test")
def self_test(context):
    """The self-test page of AERO_GATEWAY_E2E=1, under both of its paths."""
    chromium = browser(context)
    for base in ("", "/base"):
        # The page's own origin must be the public one, as in any deployment.
        port = free_port()
        server = context.server(AERO_GATEWAY_E2E=1, PUBLIC_BASE_URL=f"http://127.0.0.1:{port}{base}", PORT=port)
        chromium.get(f"http://127.0.0.1:{server.port}{base}/e2e")
        eventually(lambda: chromium.title != "Gateway self-test: running", "the self-test ends", START_SECONDS)
        results = chromium.execute_script("return window.gatewaySelfTest.results")
        equal([result for result in results if not result["ok"]], [], f"failed tests at {base}/e2e")
        equal(chromium.title, "Gateway self-test: all passed", "title")


@case("browser-secure")
def secure(context):
    """https and wss: the browser speaks TLS with its own library, keeps the Secure cookie, and moves data both ways on /tcp and /tcp-mux."""
    chain, key = certificate(context.folder, "browser", LOCAL)
    # Only this certificate is accepted without an authority.
    public = hashlib.sha256(base64.b64decode("".join(openssl("x509", "-in", chain, "-noout", "-pubkey").split("-----")[2].split()))).digest()
    chromium = browser(context, "1280,2150", "--ignore-certificate-errors-spki-list=" + base64.b64encode(public).decode())
    port = free_port()
    server = context.server(ARGUMENTS, private=False, TLS_ENABLED=1, TLS_CERT_PATH=chain, TLS_KEY_PATH=key, PORT=port, DNS_UPSTREAMS=None,
                            PUBLIC_BASE_URL=f"https://localhost:{port}", AERO_GATEWAY_E2E=1)
    chromium.get(f"https://localhost:{server.port}/e2e")
    eventually(lambda: chromium.title != "Gateway self-test: running", "the self-test ends", START_SECONDS)
    equal([result for result in chromium.execute_script("return window.gatewaySelfTest.results") if not result["ok"]], [], "failed tests")
    equal(chromium.execute_script("return performance.getEntriesByType('navigation')[0].nextHopProtocol"), "http/1.1", "protocol by ALPN")
    check(all(cookie["secure"] for cookie in chromium.get_cookies()), "the cookie is Secure", chromium.get_cookies())
    chromium.get(f"https://localhost:{server.port}/demo")
    eventually(lambda: chromium.title in ("Sluice: running", "Sluice: failed"), "the page gets somewhere", START_SECONDS)
    time.sleep(MEASURE_SECONDS)
    found = state(chromium)
    equal((found["state"], found["error"]), ("running", None), "state of the page")
    check(found["bytesVerified"] >= LEAST_BYTES and found["roundTrips"] >= 20, "bytes verified through wss /tcp", found)
    streams = found["streams"]
    equal((streams["open"], streams["failed"], streams["error"]), (STREAMS, 0, None), "streams through wss /tcp-mux")
    check(streams["bytesVerified"] >= STREAMS * STREAM_BYTES, "bytes verified on streams", streams)
    context.note(f"{found['bytesVerified'] / (1 << 20):.0f} MiB on /tcp, {streams['bytesVerified'] / (1 << 20):.0f} MiB on {STREAMS} streams, "
                 f"{found['roundTrips']} round trips")


def state(chromium):
    return chromium.execute_script("return window.sluiceDemo")

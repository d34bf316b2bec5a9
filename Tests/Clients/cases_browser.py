"""The demonstration page in a real browser: headless Chromium from Debian, driven by selenium."""
import json
import shutil
import time

from harness import Skip, case, check, equal, eventually

START_SECONDS = 30
# The page alternates 3 s of small requests with 3 s that have a download beside them.
MEASURE_SECONDS = 9
# Fetched by then on any machine that can run the browser: the first fetch and one download.
LEAST_BYTES = (1 << 20) + (16 << 20)


def browser(context):
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
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars", "--window-size=1280,1240",
                     "--disable-background-networking", f"--user-data-dir={context.folder}/profile"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    context.defer(started.quit)
    return started


@case("browser-demonstration")
def demonstration(context):
    chromium = browser(context)
    server = context.server(["--demo", "--set", "demo.service_address=127.0.0.1:0"], private=False)
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
    equal(errors, [], "errors in the console")
    context.note(f"{found['bytesVerified'] / (1 << 20):.0f} MiB verified, {found['roundTrips']} round trips; screenshot {screenshot}")


def state(chromium):
    return chromium.execute_script("return window.sluiceDemo")

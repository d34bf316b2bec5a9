"""MQTT brokers of others for the JWT proxy's cases, each with a WebSocket listener, and a client of paho."""
import os
import shutil
import signal
import socket
import subprocess
import threading
import time

from harness import Skip, eventually

# RabbitMQ starts an Erlang machine, which takes seconds on a free core and much longer on a busy one.
RABBIT_SECONDS = 90
RABBIT_PROGRAM = "/usr/lib/rabbitmq/bin/rabbitmq-server"


def free_ports(count):
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def mosquitto(context, lines=""):
    """Mosquitto; the port of its WebSocket listener, which has subprotocol `mqtt` and any path."""
    port, plain = free_ports(2)
    path = context.folder / "mosquitto.conf"
    # This version does not start with WebSockets alone.
    path.write_text(f"listener {plain} 127.0.0.1\nlistener {port}\nprotocol websockets\nallow_anonymous true\npersistence false\nuser root\n"
                    + lines)
    try:
        context.process(["mosquitto", "-c", path], stdout=open(context.folder / "mosquitto.log", "wb"), stderr=subprocess.STDOUT)
    except FileNotFoundError:
        raise Skip("mosquitto is not installed")
    eventually(lambda: listens(port), "mosquitto listens", 20)
    return port


def rabbit(context):
    """RabbitMQ with web-MQTT at `/ws`, without passwords; the port. Its node, its name service and its files are its own."""
    if not os.path.exists(RABBIT_PROGRAM):
        raise Skip("rabbitmq-server is not installed")
    port, distribution, names = free_ports(3)
    folder = context.folder / "rabbit"
    folder.mkdir()
    (folder / "plugins").write_text("[rabbitmq_web_mqtt].\n")
    (folder / "rabbit.conf").write_text(
        f"listeners.tcp = none\nmqtt.listeners.tcp = none\nmqtt.allow_anonymous = true\nweb_mqtt.tcp.ip = 127.0.0.1\n"
        f"web_mqtt.tcp.port = {port}\nweb_mqtt.ws_path = /ws\nweb_mqtt.ws_opts.compress = true\nlog.console = true\nlog.file = false\n")
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment.update(
        HOME=str(folder), RABBITMQ_NODENAME=f"n{port}@localhost", RABBITMQ_MNESIA_BASE=str(folder / "data"),
        RABBITMQ_LOG_BASE=str(folder / "log"), RABBITMQ_CONFIG_FILE=str(folder / "rabbit.conf"),
        RABBITMQ_ENABLED_PLUGINS_FILE=str(folder / "plugins"), RABBITMQ_DIST_PORT=str(distribution), ERL_EPMD_PORT=str(names),
        ERL_EPMD_ADDRESS="127.0.0.1", RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}")
    log = open(context.folder / "rabbit.log", "wb")
    # Started here, or the node starts one that outlives it.
    context.process([shutil.which("epmd"), "-address", "127.0.0.1", "-port", names], stdout=log, stderr=log)
    eventually(lambda: listens(names), "the name service listens", 20)
    node = subprocess.Popen([RABBIT_PROGRAM], stdout=log, stderr=log, env=environment, start_new_session=True)
    # A shell, and below it the machine: the node has nothing to keep, so both are ended at once.
    context.defer(lambda: (os.killpg(node.pid, signal.SIGKILL), node.wait()))
    eventually(lambda: listens(port), "RabbitMQ listens", RABBIT_SECONDS)
    return port


def paho_library():
    """Paho's module; skips the case without it."""
    try:
        import paho.mqtt.client
    except ImportError as reason:
        raise Skip(str(reason))
    return paho.mqtt.client


def paho_client(version, *, clean=True, **options):
    """A client over WebSockets. `clean` means a clean session, or a clean start."""
    paho = paho_library()
    if version != paho.MQTTv5:
        options["clean_session"] = clean
    options.setdefault("client_id", f"c{time.time_ns()}")
    return paho.Client(paho.CallbackAPIVersion.VERSION2, transport="websockets", protocol=version, **options)


def publish_and_receive(server, version, *, username=None, password=None, headers=None, path="/mqtt", clean=True, quality=1,
                        payload=b"payload", will=None):
    """A client of MQTT that subscribes, publishes to itself, and gets its message back: what it heard, and what CONNACK said."""
    heard, reasons = [], []
    ready = threading.Event()
    client = paho_client(version, clean=clean)
    client.ws_set_options(path=path, headers=headers)
    if username is not None or password is not None:
        client.username_pw_set(username, password)
    if will:
        client.will_set(*will)
    topic = f"t/{time.time_ns()}"

    def connected(own, _data, _flags, reason, _properties):
        reasons.append(str(reason))
        if not reason.is_failure:
            own.subscribe(topic, quality)
        else:
            ready.set()

    client.on_connect = connected
    client.on_subscribe = lambda own, *_: own.publish(topic, payload, quality)
    client.on_message = lambda _own, _data, message: (heard.append(message.payload), ready.set())
    client.connect("127.0.0.1", server.port, 30)
    client.loop_start()
    try:
        ready.wait(15)
    finally:
        client.disconnect()
        client.loop_stop()
    return heard, reasons

"""Certificates for the TLS cases, and clients that speak TLS through Python's ssl, which is OpenSSL too."""
import http.client
import pathlib
import shutil
import socket
import ssl
import subprocess

from harness import Failure, Skip


def openssl(*arguments, input=b"", check=True):
    """Runs the program; returns standard output and error together."""
    program = shutil.which("openssl")
    if not program:
        raise Skip("the program openssl is not installed")
    done = subprocess.run([program, *map(str, arguments)], input=input, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30)
    if check and done.returncode != 0:
        raise Failure("openssl " + " ".join(map(str, arguments)), done.stdout.decode(errors="replace"))
    return done.stdout.decode(errors="replace")


def certificate(folder, name, names, rsa=False):
    """A self-signed pair; returns (certificate, key)."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    chain, key = folder / f"{name}.crt", folder / f"{name}.key"
    kind = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    openssl("req", "-x509", "-newkey", *kind, "-nodes", "-keyout", key, "-out", chain, "-days", "30", "-subj", f"/CN={name}",
            "-addext", "subjectAltName=" + ",".join(names))
    return chain, key


LOCAL = ["DNS:localhost", "IP:127.0.0.1"]


def secure_server(context, pair=None, **environment):
    """A gateway whose only listener speaks TLS."""
    chain, key = pair or certificate(context.folder, "default", LOCAL)
    server = context.server(TLS_ENABLED=1, TLS_CERT_PATH=chain, TLS_KEY_PATH=key, **environment)
    server.certificate = chain
    return server


def trusting(chain=None):
    """A client's context that believes this certificate, or any."""
    context = ssl.create_default_context(cafile=str(chain) if chain else None)
    if not chain:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def connect(server, context=None, name="localhost", session=None):
    """A TLS connection with its handshake done."""
    raw = socket.create_connection(server.address, timeout=10)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return (context or trusting()).wrap_socket(raw, server_hostname=name, session=session)


def request(server, method, target, headers=None, body=None, context=None):
    """One request over https; returns (response, body)."""
    connection = http.client.HTTPSConnection(*server.address, timeout=10, context=context or trusting())
    try:
        connection.request(method, target, body, headers or {})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def metric(server, name):
    """Sum of one counter over all shards."""
    text = request(server, "GET", "/metrics")[1].decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.split("{")[0] == name)

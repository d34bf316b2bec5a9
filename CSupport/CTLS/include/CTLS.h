// TLS of a stream through OpenSSL 3 and memory BIOs: thin calls only.
#pragma once

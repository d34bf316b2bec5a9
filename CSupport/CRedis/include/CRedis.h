// The Redis protocol (RESP) through hiredis: formatting commands and reading replies, no I/O.
#pragma once

// Addresses are a codec's business, so the type lives in `Wire`; whoever speaks of policy speaks of addresses, so it comes along with
// this module.

@_exported import struct Wire.IPAddress

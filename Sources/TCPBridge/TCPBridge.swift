// TCPBridge

/// `/tcp-mux`: many TCP streams per WebSocket.
enum TCPMuxModule {}

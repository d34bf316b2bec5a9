/// DNS over HTTPS.
enum DNSModule {}

//! The control API: HTTP and WebSocket, on a Unix socket and, if asked for, on loopback TCP.

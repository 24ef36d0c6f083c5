//! netstat-deep

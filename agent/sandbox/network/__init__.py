"""What clients connect to: TLS, MQTT in two versions, HTTPS, and the broker behind."""

"""The gateway's talk with AWS IoT Core. Nothing else imports the SDK."""

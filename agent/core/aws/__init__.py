"""Names and limits of AWS IoT Core: endpoints, topics, client ids, what a reply may hold."""

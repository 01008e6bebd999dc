"""The daemon: one thread, one loop; everything heavy happens in short-lived processes of its own."""

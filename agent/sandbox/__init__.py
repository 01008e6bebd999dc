"""A local AWS IoT Core to rehearse against: imported by nothing but the command and the tests."""

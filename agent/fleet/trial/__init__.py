"""A first deployment, tried with one test device: the device, and a step for each fact that is not known of AWS."""

"""What an operator does with the account's side of a fleet: `iot-cert cloud`. It is on no gateway.

`decide` says what is to be done with what was read, `aws` reads and does it, `commands` has a function for each verb.
"""

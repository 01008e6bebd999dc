"""What an operator does with the account's side of a fleet: `iot-cert cloud`. It is on no gateway.

`decide` says what is to be done with what was read, `aws` and `own_cas` read and do it, `commands` has a function for
each verb, and `trial` tries a first deployment. What one verb alone reads of AWS IoT, it reads by `Fleet.iot`.
"""

"""The ports by boto3, which the Lambda runtime includes. No other package of `agent.backend` imports it."""

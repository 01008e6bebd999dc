"""The ports over boto3, which the Lambda runtime brings along: the only room that meets it."""

"""What each function of the stack asks of AWS: measured where it runs, and granted by the template to the letter."""

from __future__ import annotations

_ROWS = {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"}
ACTIONS = {
    "audit": frozenset(
        {
            "dynamodb:GetItem",
            "iot:CreateJob",
            "iot:DescribeCertificate",
            "iot:DescribeThing",
            "iot:GetThingShadow",
            "iot:ListAuditFindings",
            "iot:ListCertificatesByCA",
            "iot:ListJobExecutionsForThing",
            "iot:ListPrincipalThings",
            "iot:ListThingPrincipals",
        }
    ),
    "hook": frozenset(
        {
            *_ROWS,
            "iot:AttachPolicy",
            "iot:DescribeCertificate",
            "iot:GetThingShadow",
            "iot:ListAttachedPolicies",
            "iot:ListPrincipalThings",
        }
    ),
    "retire": frozenset(
        {
            *_ROWS,
            "dynamodb:Query",
            "iot:DescribeCertificate",
            "iot:DescribeThing",
            "iot:GetThingShadow",
            "iot:ListPrincipalThings",
            "iot:ListThingPrincipals",
            "iot:Publish",
            "iot:UpdateCertificate",
        }
    ),
    "sign": frozenset({"dynamodb:GetItem", "kms:Sign"}),
    "sweep": frozenset(
        {
            "dynamodb:PutItem",  # certificates alone, as the query
            "dynamodb:Query",
            "iot:AttachThingPrincipal",
            "iot:DeleteCertificate",
            "iot:DescribeCertificate",
            "iot:DescribeThing",
            "iot:DetachThingPrincipal",
            "iot:ListCertificates",
            "iot:ListPrincipalThings",
            "iot:ListThingPrincipals",
        }
    ),
    "vend": frozenset(
        {
            *_ROWS,
            "iot:AttachPolicy",
            "iot:AttachThingPrincipal",
            "iot:CreateCertificateFromCsr",
            "iot:CreateThing",
            "iot:DescribeCertificate",
            "iot:GetThingShadow",
            "iot:RegisterCertificate",
            "iot:UpdateCertificate",
            "lambda:InvokeFunction",
        }
    ),
}
FOR_A_SIGNER = frozenset({"iot:RegisterCertificate", "lambda:InvokeFunction"})  # of vend, where the stack has one

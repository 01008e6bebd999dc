"""Trust anchors, from wherever they come to an installed store. Nothing else imports `tuf`."""

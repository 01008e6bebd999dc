#!/bin/sh
# What a careful person writes with openssl and mosquitto: fleet provisioning by a request of one's own, over MQTT.
# renew.sh DIRECTORY HOST PORT THING: the directory has key.pem, certificate.pem and anchors.pem. As AWS describes it in
# "Provisioning devices that don't have device certificates using fleet provisioning" (developer guide), MQTT API.
set -eu
cd "$1"
host=$2 port=$3 thing=$4

# Publish a text to a topic, and print what comes to its accepted one; `-f` and `-s` of 2.0.11 send nothing.
ask() {
    mosquitto_rr -V mqttv5 -h "$host" -p "$port" -i "$thing" -q 1 -W 30 \
        --cafile anchors.pem --cert certificate.pem --key key.pem -t "$1" -e "$1/accepted" -m "$2"
}

# Print one text of a JSON object.
text_of() {
    sed -n "s/.*\"$1\":[[:space:]]*\"\([^\"]*\)\".*/\1/p" answer.new
}

umask 077
openssl ecparam -name prime256v1 -genkey -noout -out key.new
openssl req -new -key key.new -subj "/CN=$thing" -out csr.new
request=$(awk '{printf "%s\\n", $0}' csr.new)
ask "\$aws/certificates/create-from-csr/json" "{\"certificateSigningRequest\":\"$request\"}" >answer.new
printf '%b' "$(text_of certificatePem)" >certificate.new
token=$(text_of certificateOwnershipToken)
sleep 1 # AWS takes one CONNECT of a client id in a second
ask "\$aws/provisioning-templates/gateway-rotation/provision/json" \
    "{\"certificateOwnershipToken\":\"$token\",\"parameters\":{\"ThingName\":\"$thing\"}}" >registered.new
openssl x509 -in certificate.new -noout -checkend 0 >/dev/null
mv key.new key.pem
mv certificate.new certificate.pem
rm csr.new answer.new registered.new

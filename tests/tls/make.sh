#!/bin/sh
# Makes a certificate authority and its certificates for a server on loopback and a client.
# For tests only, valid for a century.
set -eu
cd "$(dirname "$0")"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj "/CN=inferbus test authority" \
    -addext "basicConstraints=critical,CA:TRUE" -keyout authority-key.pem -out authority.pem

# A server is a client of the others of its cluster.
for name in server client; do
    usage=clientAuth
    [ $name = client ] || usage=serverAuth,clientAuth
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$name" -keyout "$name-key.pem" -out "$name.csr"
    printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=%s\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n' "$usage" > "$name.ext"
    openssl x509 -req -in "$name.csr" -CA authority.pem -CAkey authority-key.pem -CAcreateserial -days 36500 \
        -extfile "$name.ext" -out "$name.pem"
    rm "$name.csr" "$name.ext"
done
# The authority is not needed any more.
rm authority-key.pem authority.srl

# Makes a certificate of 127.0.0.1 for the server in this folder, and the authority that signed it: ca.pem.
set -eu
cd "$1"
request() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "$@"
}
request -x509 -days 3650 -subj "/CN=tallymill tests" -keyout ca.key -out ca.pem \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign"
request -subj "/CN=127.0.0.1" -keyout server.key -out server.csr
printf 'subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n' >server.ext
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 \
    -extfile server.ext -out server.pem
chmod 600 server.key
cat >>data/postgresql.conf <<SETTINGS
ssl = on
ssl_cert_file = '$1/server.pem'
ssl_key_file = '$1/server.key'
SETTINGS

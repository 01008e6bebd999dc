# nooelint: oelint.var.mandatoryvar.HOMEPAGE - it has none
# Not built against a real release: a starting point. It needs a layer whose Python is 3.11, and one with systemd.
SUMMARY = "Certificate rotation agent for AWS IoT gateways"
DESCRIPTION = "Rotates the certificate, key and trust anchors of an AWS IoT gateway without ever leaving it unable to connect."
SECTION = "net"
LICENSE = "Apache-2.0"
LIC_FILES_CHKSUM = "file://LICENSE;md5=3b83ef96387f14655fc854ddc3c6bd57"

# The sources, and beside them the wheels that requirements/run.txt names, fetched and checked on another machine with
#     python3.11 -m pip download --dest wheels --require-hashes --no-deps --only-binary :all: --python-version 3.11 \
#         --implementation cp --abi cp311 --abi abi3 --abi none --platform manylinux_2_28_aarch64 \
#         --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 -r requirements/run.txt
#     python3.11 -m pip wheel --no-deps --wheel-dir wheels .
DEPENDS += "python3-native"
SRC_URI = "file://iot-cert-agent-${PV}.tar.gz file://wheels"

inherit python3native systemd useradd

FILES:${PN} += "${PRIVATE} ${nonarch_libdir}/systemd ${nonarch_libdir}/tmpfiles.d"
RDEPENDS:${PN} += "python3-core (>= 3.11) python3-ctypes python3-modules python3-systemd systemd"

PRIVATE = "${nonarch_libdir}/iot-cert-agent"
PACKAGES_DIR = "${PRIVATE}/lib/python3.11/site-packages"

USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system iot-cert-admin"
USERADD_PARAM:${PN} = "--system --user-group --home-dir ${localstatedir}/lib/iot-cert-agent --shell /sbin/nologin iot-cert-agent"

SYSTEMD_SERVICE:${PN} = "iot-cert-agent.service iot-cert-agent.socket iot-cert-agent-deploy.socket"
SYSTEMD_AUTO_ENABLE = "enable"

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -d ${D}${PRIVATE}/bin ${D}${PACKAGES_DIR}
    ln -s ${bindir}/python3 ${D}${PRIVATE}/bin/python3
    printf 'home = ${bindir}\ninclude-system-site-packages = false\nversion = 3.11\n' > ${D}${PRIVATE}/pyvenv.cfg
    for wheel in ${WORKDIR}/wheels/*.whl; do
        ${PYTHON} -m zipfile --extract $wheel ${D}${PACKAGES_DIR}
    done
    # The rehearsal cloud, the account's code and the operator's command are not for gateways.
    rm -r ${D}${PACKAGES_DIR}/agent/sandbox ${D}${PACKAGES_DIR}/agent/backend ${D}${PACKAGES_DIR}/agent/fleet
    ln -s ${PYTHON_SITEPACKAGES_DIR}/systemd ${D}${PACKAGES_DIR}/systemd
    ${PYTHON} -m compileall -q -s ${D} -p / --invalidation-mode unchecked-hash ${D}${PACKAGES_DIR}
    ${PYTHON} ${S}/packaging/lean.py ${D}${PACKAGES_DIR}/agent ${PACKAGES_DIR}/agent

    install -D -m 0755 ${S}/packaging/debian/iot-cert ${D}${bindir}/iot-cert
    # An image's env may be busybox's, which knows no options.
    sed -i '1s|.*|#!${PRIVATE}/bin/python3 -I|' ${D}${bindir}/iot-cert
    install -D -m 0644 ${S}/config/config.yaml ${D}${sysconfdir}/iot-cert-agent/config.yaml
    install -D -m 0644 ${S}/config/amazon-roots.pem ${D}${datadir}/iot-cert-agent/amazon-roots.pem
    install -D -m 0644 ${S}/config/config.schema.json ${D}${datadir}/iot-cert-agent/config.schema.json
    install -D -m 0644 -t ${D}${systemd_system_unitdir} ${S}/systemd/*.service ${S}/systemd/*.socket
    install -d ${D}${sysconfdir}/iot-cert-agent/hooks.d ${D}${sysconfdir}/iot-cert-agent/gates.d
    install -D -m 0644 ${S}/systemd/iot-cert-agent.tmpfiles ${D}${nonarch_libdir}/tmpfiles.d/iot-cert-agent.conf
    install -D -m 0644 ${S}/systemd/iot-cert-agent.catalog ${D}${nonarch_libdir}/systemd/catalog/iot-cert-agent.catalog
}

CONFFILES:${PN} = "${sysconfdir}/iot-cert-agent/config.yaml"

# Wheels bring libraries as they were tested: not stripped, and with what they need inside.
INHIBIT_PACKAGE_STRIP = "1"
INHIBIT_SYSROOT_STRIP = "1"
# nooelint: oelint.vars.insaneskip - the line above says why
INSANE_SKIP:${PN} += "already-stripped ldflags file-rdeps"

{%- from 'pair/map.jinja' import node with context %}
# Virtual machines on storage that both hosts of a pair share, for pairs with `vms` alone. Nothing in here starts
# one, and what is here keeps everything else from doing so.
{%- for pair in salt['shared_vm.pairs']() %}
The packages of a host of {{ pair }} are installed:
  pkg.installed:
    - pkgs: {{ node.guest_packages | tojson }}

# Where it is mounted: what is made on the node's own disk in its stead would guard nothing. A host that has lost
# the storage gets the rest of its highstate all the same.
The shared storage of {{ pair }} is marked:
  shared_vm.storage_marked:
    - name: {{ pair }}
    - require:
      - file: The node knows the pair {{ pair }}

A disk of {{ pair }} is written to by one host at a time:
  file.managed:
    - name: /etc/libvirt/qemu-lockd.conf
    - contents: {{ salt['shared_vm.lock_config'](pair) | tojson }}
    - mode: '0644'
    - require:
      - pkg: The packages of a host of {{ pair }} are installed

libvirt asks virtlockd before it starts a guest of {{ pair }}:
  file.replace:
    - name: /etc/libvirt/qemu.conf
    - pattern: '^[ \t]*#?[ \t]*lock_manager[ \t]*=.*$'
    - repl: 'lock_manager = "lockd"'
    - append_if_not_found: true
    - backup: false
    - require:
      - file: A disk of {{ pair }} is written to by one host at a time

virtlockd answers on a host of {{ pair }}:
  service.running:
    - name: virtlockd.socket
    - enable: true
    - require:
      - pkg: The packages of a host of {{ pair }} are installed

libvirt of a host of {{ pair }} starts at boot:
  service.enabled:
    - name: {{ node.libvirt_unit }}.service
    - require:
      - file: libvirt asks virtlockd before it starts a guest of {{ pair }}
      - service: virtlockd answers on a host of {{ pair }}

libvirt of a host of {{ pair }} answers:
  service.running:
    - name: {{ node.libvirt_unit }}.socket
    - enable: true
    - require:
      - service: libvirt of a host of {{ pair }} starts at boot

# Guests that run go on; those started before virtlockd was asked get its lock at their next start.
libvirt of a host of {{ pair }} has read its configuration:
  module.run:
    - shared_vm.renew_libvirt: []
    - onchanges:
      - file: A disk of {{ pair }} is written to by one host at a time
      - file: libvirt asks virtlockd before it starts a guest of {{ pair }}
    - require:
      - service: libvirt of a host of {{ pair }} answers
      - shared_vm: The shared storage of {{ pair }} is marked

# Not every package of libvirt brings one.
libvirt-guests of a host of {{ pair }} has a file for its settings:
  file.managed:
    - name: {{ node.guest_defaults }}
    - replace: false
    - mode: '0644'
    - require:
      - pkg: The packages of a host of {{ pair }} are installed

  {%- for setting, value in (('ON_BOOT', 'ignore'), ('ON_SHUTDOWN', 'shutdown')) %}
libvirt-guests of a host of {{ pair }} has {{ setting }}={{ value }}:
  file.replace:
    - name: {{ node.guest_defaults }}
    - pattern: '^[ \t]*#?[ \t]*{{ setting }}=.*$'
    - repl: '{{ setting }}={{ value }}'
    - append_if_not_found: true
    - backup: false
    - require:
      - file: libvirt-guests of a host of {{ pair }} has a file for its settings
  {%- endfor %}

# For its second half alone: an orderly shutdown of the host shuts its guests down.
libvirt-guests of a host of {{ pair }} shuts guests down with the host:
  service.running:
    - name: libvirt-guests.service
    - enable: true
    - require:
      - file: libvirt-guests of a host of {{ pair }} has ON_BOOT=ignore
      - file: libvirt-guests of a host of {{ pair }} has ON_SHUTDOWN=shutdown
      - service: libvirt of a host of {{ pair }} answers

No boot starts a guest of {{ pair }}:
  shared_vm.not_at_boot:
    - name: {{ pair }}
    - require:
      - service: libvirt of a host of {{ pair }} answers
      - file: The node knows the pair {{ pair }}

# lsyncd brings definitions to the standby, where nobody would tell libvirt.
  {%- for kind in ('path', 'service') %}
The {{ kind }} unit that lets libvirt know definitions of {{ pair }} is in place:
  file.managed:
    - name: /etc/systemd/system/failback-guests-{{ pair }}.{{ kind }}
    - source: salt://pair/files/guests.{{ kind }}
    - template: jinja
    - context:
        pair: {{ pair }}
    - mode: '0644'
  {%- endfor %}

Systemd knows the units that let libvirt know definitions of {{ pair }}:
  module.run:
    - service.systemctl_reload: []
    - onchanges:
      - file: The path unit that lets libvirt know definitions of {{ pair }} is in place
      - file: The service unit that lets libvirt know definitions of {{ pair }} is in place

libvirt is told of new definitions of {{ pair }}:
  service.running:
    - name: failback-guests-{{ pair }}.path
    - enable: true
    - require:
      - module: Systemd knows the units that let libvirt know definitions of {{ pair }}
      - file: The program failback is in place
      - service: libvirt of a host of {{ pair }} answers
{%- endfor %}

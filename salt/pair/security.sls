{%- from 'pair/map.jinja' import node with context %}
# What SELinux and firewalld must allow, where they are on. docs/install.md says why each is needed; nothing is taken
# away, and the zone of firewalld is touched only if the site has named it.
{%- if (grains.get('selinux') or {}).get('enabled') %}
The tools of SELinux are installed:
  pkg.installed:
    - pkgs: {{ node.selinux_packages | tojson }}
    - reload_modules: true
  {%- for port in salt['pair.ssh_ports']() if port != 22 %}

SELinux lets sshd listen on port {{ port }}:
  selinux.port_policy_present:
    - name: tcp/{{ port }}
    - sel_type: ssh_port_t
    - require:
      - pkg: The tools of SELinux are installed
  {%- endfor %}
  {%- if salt['shared_vm.pairs']() %}

SELinux lets guests and virtlockd use the shared storage:
  selinux.boolean:
    - name: virt_use_nfs
    - value: 'on'
    - persist: true
    - require:
      - pkg: The tools of SELinux are installed
  {%- endif %}
{%- endif %}

{%- if node.firewalld_zone %}

firewalld lets the other node in:
  firewalld.present:
    - name: {{ node.firewalld_zone }}
    - ports:
      {%- for port in salt['pair.ssh_ports']() %}
      - {{ port }}/tcp
      {%- endfor %}
{%- endif %}
